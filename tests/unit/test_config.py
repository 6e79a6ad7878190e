"""Settings: defaults, then the file, then variables, then flags; what cannot be used says where it was set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diag import config
from diag.errors import BadSetting


@pytest.fixture
def file(home: Path) -> Path:
    """The settings file where it is looked for."""
    path = home / ".config" / "diag" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_nothing_has_to_be_set(home: Path) -> None:
    """Without any setting, everything stands in the user's own folders."""
    settings = config.load()

    assert settings.state_dir == home / ".local" / "state" / "diag"
    assert settings.store_url == (home / ".local" / "state" / "diag" / "store").as_uri()
    assert settings.spool_dir == home / ".local" / "state" / "diag" / "spool"
    assert settings.run_dir == home / "run" / "diag"
    assert settings.tenant == "default"
    assert list(home.iterdir()) == []


def test_the_later_source_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags beat variables, variables beat the file, the file beats defaults; a flag that was not given counts not."""
    file.write_text('store = "file:///file"\nservice = "file"\nspool_quota_mb = 7\nlocals = true\n')
    monkeypatch.setenv("DIAG_STORE", "file:///variable")
    monkeypatch.setenv("DIAG_SERVICE", "variable")

    settings = config.load({"store": "file:///flag", "service": None})

    assert (settings.store, settings.service, settings.spool_quota_mb) == ("file:///flag", "variable", 7)
    assert settings.locals is True
    assert settings.spool_floor_mb == 256


def test_a_named_file_has_to_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was asked for by name is not silently ignored."""
    monkeypatch.setenv("DIAG_CONFIG", str(home / "absent.toml"))

    with pytest.raises(BadSetting, match=r"absent\.toml"):
        config.load()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DIAG_LOCALS", "perhaps", "locals='perhaps' in the environment"),
        ("DIAG_SPOOL_QUOTA_MB", "much", "spool_quota_mb='much' in the environment"),
        ("DIAG_TENANT", "Team", "tenant='Team' in the environment"),
        ("DIAG_TENANT", "a/b", "tenant='a/b' in the environment"),
        ("DIAG_SPOOL_FLOOR_MB", "-1", "spool_floor_mb='-1' in the environment"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    """The refusal says which setting, which value and where it was set."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(BadSetting, match=says):
        config.load()


@pytest.mark.parametrize("content", [b"store = ", b"\xff\xfe", b'colour = "red"\n'], ids=["syntax", "bytes", "unknown"])
def test_a_file_that_cannot_be_used_is_named(file: Path, content: bytes) -> None:
    """A broken file, and a setting that does not exist, name the file."""
    file.write_bytes(content)

    with pytest.raises(BadSetting, match=str(file)):
        config.load()


def test_opentelemetrys_service_name_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has named the service for OpenTelemetry need not name it again."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    assert config.load().service == "shop"

    monkeypatch.setenv("DIAG_SERVICE", "checkout")
    assert config.load().service == "checkout"


def test_paths_are_absolute_and_know_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative or ~ path means the same for every process that gets the settings."""
    monkeypatch.setenv("DIAG_SPOOL", "~/my spool")
    assert config.load().spool_dir == home / "my spool"

    monkeypatch.setenv("DIAG_SPOOL", "here")
    assert config.load().spool_dir == Path.cwd() / "here"


def test_a_user_without_a_home_has_a_run_folder_of_their_own() -> None:
    """With an empty environment the folders still are per user."""
    settings = config.load(environ={})

    assert settings.run_dir in (Path("/run/diag"), Path(f"/tmp/diag-{os.geteuid()}"))
    assert settings.state_dir.is_absolute()
