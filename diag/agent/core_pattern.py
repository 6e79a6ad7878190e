"""Makes `diag` the kernel's handler of core dumps for a while, and puts back what was there before: core(5).

The handler is a program of its own (`core_handler.py`): it needs no agent, and where nobody restores the setting it
goes on to record crashes. What was set before stands in a file beside it: after a kill -9 the next start restores it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from diag.agent import registry
from diag.config import Settings
from diag.errors import DiagError, UsageError

SYSCTL = Path("/proc/sys/kernel")
PATTERN, PIPE_LIMIT = "core_pattern", "core_pipe_limit"
_LONGEST = 127  # CORENAME_MAX_SIZE, with its end
_HANDLER, _BEFORE, _OPTIONS = "core", "core.before.json", "core.options.json"
_PLACES = "%P %s %u"  # pid as the first pid namespace counts it, signal, real uid
_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class Options:
    """What the handler may do. `only_uid` leaves the crashes of all other users alone, without a record of them."""

    keep_cores: bool = False
    most_bytes: int = 1 << 30
    most_s: float = 60.0
    a_minute: int = 5  # records of one program and signal; the others of that minute are counted
    only_uid: int | None = None


class NoCorePattern(DiagError):
    """The kernel's setting cannot be changed here."""

    exit_code = 3
    help_text = "Run as root on the host itself: kernel.core_pattern is one for the whole machine."


def install(settings: Settings, options: Options = Options()) -> None:
    """Become the handler. Raises NoCorePattern, UsageError.

    What a killed agent left is restored first, so what is put back in the end is never a handler of ours.
    """
    if os.geteuid() != 0:
        raise NoCorePattern("Only root may change kernel.core_pattern.")
    restore(settings)
    folder = settings.run_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours = f"|{folder / _HANDLER} {_PLACES}"
    if len(ours) > _LONGEST or any(letter in str(folder) for letter in " %\n"):
        raise UsageError(f"{folder} cannot stand in kernel.core_pattern.", "Set DIAG_RUN_DIR to a short path.")
    if _other_agent(folder):
        raise UsageError("Another agent is the kernel's core handler.", "End it, or leave out --core-pattern.")
    limit, us = _get(PIPE_LIMIT), [os.getpid(), registry.start_ticks(os.getpid())]
    before = {PATTERN: _get(PATTERN), PIPE_LIMIT: limit, "ours": ours, "agent": us}
    _write(folder / _BEFORE, json.dumps(before), 0o600)
    _write(folder / _OPTIONS, json.dumps({"options": asdict(options), "environment": _environment(settings)}), 0o600)
    _write(folder / _HANDLER, _script(folder, options.only_uid), 0o700)
    # Without a limit the kernel does not wait for the handler, and the process is gone while it is read.
    if int(limit) < 1:
        _set(PIPE_LIMIT, str(_TOGETHER))
    _set(PATTERN, ours)


def restore(settings: Settings) -> bool:
    """Put back what was set before; whether there was anything to put back.

    What somebody else has set since stays, and so does the handler of another agent that lives.
    """
    folder = settings.run_dir
    if _other_agent(folder):
        return False
    try:
        before = json.loads((folder / _BEFORE).read_text())
        pattern, limit, ours = str(before[PATTERN]), str(int(before[PIPE_LIMIT])), str(before["ours"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if _get(PATTERN) == ours:
        _set(PATTERN, pattern)
        _set(PIPE_LIMIT, limit)
    for name in (_BEFORE, _HANDLER, _OPTIONS):
        with suppress(FileNotFoundError):
            (folder / name).unlink()
    return True


def _other_agent(folder: Path) -> bool:
    try:
        pid, ticks = json.loads((folder / _BEFORE).read_text())["agent"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return pid != os.getpid() and registry.alive(pid, ticks)


@contextmanager
def installed(settings: Settings, options: Options = Options()) -> Iterator[None]:
    """The handler, for as long as the block runs."""
    install(settings, options)
    try:
        yield
    finally:
        restore(settings)


def read_options(path: Path) -> tuple[Options, dict[str, str]]:
    """What was written for the handler: its options, and the environment that settings are read from."""
    content = json.loads(path.read_text())
    return Options(**content["options"]), dict(content["environment"])


def _environment(settings: Settings) -> dict[str, str]:
    """The handler is started by the kernel with no environment: where everything stands is told it."""
    kept = {name: os.environ[name] for name in ("HOME", "DIAG_CONFIG", "XDG_CONFIG_HOME") if name in os.environ}
    named = {
        "DIAG_STATE_DIR": settings.state_dir,
        "DIAG_RUN_DIR": settings.run_dir,
        "DIAG_SPOOL": settings.spool_dir,
        "DIAG_SERVICE": settings.service,
        "DIAG_LABELS": settings.labels,
        "DIAG_ENVIRONMENT_ALLOW": settings.environment_allow,
        "DIAG_SPOOL_QUOTA_MB": settings.spool_quota_mb,
        "DIAG_SPOOL_FLOOR_MB": settings.spool_floor_mb,
    }
    return {**kept, **{name: str(value) for name, value in named.items()}}


def _script(folder: Path, only_uid: int | None) -> str:
    # -P: nothing is imported from wherever the kernel starts it. Others' crashes are let go before anything is.
    return (
        f"#!{sys.executable} -P\n"
        f"import sys\n"
        f"if {only_uid!r} not in (None, int(sys.argv[3])): sys.exit()\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        f"from diag.agent.core_handler import main\n"
        f"main({str(folder / _OPTIONS)!r}, sys.argv[1:])\n"
    )


def _get(name: str) -> str:
    try:
        return (SYSCTL / name).read_text().rstrip("\n")
    except OSError as error:
        raise NoCorePattern(f"{SYSCTL / name} cannot be read: {error.strerror}.") from error


def _set(name: str, value: str) -> None:
    try:
        (SYSCTL / name).write_text(value)
    except OSError as error:
        raise NoCorePattern(f"{SYSCTL / name} cannot be set: {error.strerror}.") from error


def _write(path: Path, content: str, mode: int) -> None:
    """The file, whole before its name is there."""
    part = path.with_name(f".{path.name}.part")
    with suppress(FileNotFoundError):
        part.unlink()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        os.fchmod(descriptor, mode)
        file.flush()
        os.fsync(descriptor)
    part.rename(path)
