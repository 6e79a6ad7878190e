"""Settings: defaults < file < DIAG_* variables < flags."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from diag.errors import BadSetting
from diag.model import valid_tenant

MIB = 1024 * 1024
RETENTION_HELP = """For example:
[[retention]]
kind = "crash"
keep_days = 90
keep_per_fingerprint = 20"""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """What to keep of the captures that it matches: an empty text matches all, and a limit that is None limits nothing.

    Raises ValueError where it says what cannot be.
    """

    service: str = ""
    kind: str = ""
    fingerprint: str = ""
    keep_days: float | None = None
    keep_per_fingerprint: int | None = None
    max_size_mb: float | None = None

    def __post_init__(self) -> None:
        for name in ("service", "kind", "fingerprint"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is not a text")
        limits = {name: getattr(self, name) for name in RETENTION_LIMITS if getattr(self, name) is not None}
        if not limits:
            raise ValueError(f"it limits nothing; say one of {', '.join(RETENTION_LIMITS)}")
        for name, value in limits.items():
            whole = name == "keep_per_fingerprint"
            good = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not (good and math.isfinite(value) and value >= (1 if whole else 0)):
                raise ValueError(f"{name} = {value!r} is not a {'whole number from 1 on' if whole else 'number'}")


RETENTION_LIMITS = ("keep_days", "keep_per_fingerprint", "max_size_mb")


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of the agent and the CLI; docs/settings.md is its table. Each is also `DIAG_<NAME>`."""

    store: str = ""  # URL; empty: file:// under the state folder
    token: str = ""  # bearer token for an http(s) store
    tenant: str = "default"
    state_dir: Path = Path()
    run_dir: Path = Path()
    spool: Path = Path()  # empty: <state_dir>/spool
    spool_quota_mb: int = 512
    spool_floor_mb: int = 256  # free disk space that the spool leaves alone
    spool_second: Path = Path()  # takes what the spool cannot; empty: <run_dir>/spool
    spool_second_quota_mb: int = 32  # 0: there is none
    upload_rate_mb_s: int = 16  # MiB a second; 0 is as fast as it goes
    service: str = ""
    labels: str = ""  # k=v,k=v
    locals: bool = False  # locals in crash reports, redacted
    source_lines: int = 3  # of the program's source around each line of a report's innermost frames; 0: none
    oom_watch_percent: int = 90  # of a control group's memory limit, where a last look is taken; 0: never
    hang_after: str = ""  # seconds until a request is looked at; empty: 80 % of gunicorn's time-out, or 30; 0: never
    environment_allow: str = ""  # more names (comma-separated, * allowed) than the built-in allow-list
    trace_url: str = ""  # the viewer's link for a trace, with {trace_id}
    retention: tuple[RetentionRule, ...] = ()  # what `diag prune` keeps; none: nothing is ever removed

    @property
    def store_url(self) -> str:
        """The store in force."""
        return self.store or (self.state_dir / "store").as_uri()

    @property
    def hang_after_s(self) -> float | None:
        """After how long a request is looked at; None leaves it to gunicorn's time-out. Raises BadSetting."""
        if not self.hang_after:
            return None
        try:
            seconds = float(self.hang_after)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < math.inf:
            raise BadSetting(
                f"hang_after={self.hang_after!r} is not a number of seconds.", "For example: 30; 0 is never."
            )
        return seconds

    @property
    def spool_dir(self) -> Path:
        """The spool in force."""
        return self.spool if self.spool != Path() else self.state_dir / "spool"

    @property
    def spool_second_dir(self) -> Path:
        """The second spool in force."""
        return self.spool_second if self.spool_second != Path() else self.run_dir / "spool"


def load(flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. `flags` holds what the command line gave; None values count as not given.

    The file is `DIAG_CONFIG`, or `$XDG_CONFIG_HOME/diag/config.toml` where that exists. Raises BadSetting.
    """
    settings = replace(Settings(), state_dir=_state_dir(environ), run_dir=_run_dir(environ))
    settings = _apply(settings, *_read_file(environ))
    variables = {
        f.name: environ[f"DIAG_{f.name.upper()}"] for f in fields(Settings) if f"DIAG_{f.name.upper()}" in environ
    }
    if "service" not in variables and environ.get("OTEL_SERVICE_NAME"):
        variables["service"] = environ["OTEL_SERVICE_NAME"]
    settings = _apply(settings, variables, "the environment")
    return _apply(settings, {k: v for k, v in (flags or {}).items() if v is not None}, "the command line")


def _apply(settings: Settings, values: Mapping[str, Any], where: str) -> Settings:
    known = {f.name: type(getattr(settings, f.name)) for f in fields(Settings)}
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise BadSetting(f"{where} has an unknown setting {name!r}.", f"Known settings: {', '.join(known)}.")
        changed[name] = _convert(name, value, known[name], where)
    return replace(settings, **changed)


def _convert(name: str, value: Any, kind: type, where: str) -> Any:
    if kind is bool:
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off", ""):
            return False
        raise BadSetting(f"{name}={value!r} in {where} is neither true nor false.")
    if kind is int:
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < 0:
            raise BadSetting(f"{name}={value!r} in {where} is not a whole number.")
        return number
    if kind is tuple:
        return _rules(name, value, where)
    if name == "tenant" and not valid_tenant(str(value)):  # what is stored under another would never be listed
        raise BadSetting(f"{name}={value!r} in {where} can be none.", "1 to 63 of a-z, 0-9, _ and -, such as team-a.")
    if issubclass(kind, Path):
        return Path(str(value)).expanduser().absolute()
    return str(value)


def _rules(name: str, value: Any, where: str) -> tuple[RetentionRule, ...]:
    """The rules in an array of tables; a variable holds the same array as a text."""
    try:
        tables = tomllib.loads(f"{name} = {value or '[]'}")[name] if isinstance(value, str) else value
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{name} in {where} cannot be read as TOML: {error}.", RETENTION_HELP) from error
    if not isinstance(tables, list):
        raise BadSetting(f"{name} in {where} is not a list of rules.", RETENTION_HELP)
    rules = []
    for number, table in enumerate(tables, 1):
        try:
            rules.append(RetentionRule(**table))
        except (TypeError, ValueError) as error:
            unknown = sorted(set(table) - {f.name for f in fields(RetentionRule)}) if isinstance(table, dict) else []
            why = f"unknown key {unknown[0]!r}" if unknown else str(error)
            raise BadSetting(f"Rule {number} of {name} in {where} cannot be used: {why}.", RETENTION_HELP) from error
    return tuple(rules)


def _read_file(environ: Mapping[str, str]) -> tuple[Mapping[str, Any], str]:
    named = environ.get("DIAG_CONFIG")
    path = Path(named) if named else _xdg(environ, "XDG_CONFIG_HOME", ".config") / "diag" / "config.toml"
    try:
        return tomllib.loads(path.read_text()), str(path)
    except FileNotFoundError:
        if named:
            raise BadSetting(f"DIAG_CONFIG names {path}, which does not exist.") from None
        return {}, str(path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"{path} cannot be read as TOML: {error}.") from error


def _state_dir(environ: Mapping[str, str]) -> Path:
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "diag"


def _run_dir(environ: Mapping[str, str]) -> Path:
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "diag"
    # Memory-backed where it can be: black boxes are mapped files, and a disk's writeback would stall their writers.
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run/diag")
    return Path(f"/tmp/diag-{os.geteuid()}")


def _xdg(environ: Mapping[str, str], name: str, default: str) -> Path:
    return Path(environ.get(name) or Path(environ.get("HOME") or "/tmp") / default)


def parse_labels(text: str) -> dict[str, str]:
    """`k=v,k=v` as a mapping. Raises BadSetting."""
    labels: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise BadSetting(
                f"the label {part!r} is not of the form k=v.", "For example: --label zone=b --label tier=web"
            )
        labels[name.strip()] = value.strip()
    return labels
