"""What is set in the kernel, and what is put back: on files in place of the kernel's."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from diag.agent import core_pattern, registry
from diag.agent.core_pattern import NoCorePattern, Options
from diag.config import Settings
from diag.errors import UsageError


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in the place of the kernel's settings, and somebody who may write them."""
    monkeypatch.setattr(core_pattern, "SYSCTL", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / core_pattern.PATTERN).write_text("core\n")
    (tmp_path / core_pattern.PIPE_LIMIT).write_text("0\n")
    return tmp_path


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings with folders of their own."""
    return Settings(state_dir=home / "state", run_dir=home / "run")


def values(kernel: Path) -> list[str]:
    """Both settings, as they are."""
    return [(kernel / name).read_text().strip() for name in (core_pattern.PATTERN, core_pattern.PIPE_LIMIT)]


def test_both_settings_are_changed_and_put_back(kernel: Path, settings: Settings) -> None:
    """The handler's program is root's alone, is told its options, and goes with the setting."""
    options = Options(keep_cores=True, only_uid=7)
    with core_pattern.installed(settings, options):
        pattern, limit = values(kernel)
        program = Path(pattern.removeprefix("|").split()[0])
        assert pattern.startswith("|/") and int(limit) > 0
        assert stat.S_IMODE(program.stat().st_mode) == 0o700
        told, variables = core_pattern.read_options(settings.run_dir / "core.options.json")
        assert told == options
        assert variables["DIAG_STATE_DIR"] == str(settings.state_dir)
        assert "DIAG_TOKEN" not in variables

    assert values(kernel) == ["core", "0"]
    assert not list(settings.run_dir.iterdir())


def test_a_limit_of_the_user_s_own_stays(kernel: Path, settings: Settings) -> None:
    """A core_pipe_limit above 0 makes the kernel wait already, and is left alone."""
    (kernel / core_pattern.PIPE_LIMIT).write_text("2\n")
    with core_pattern.installed(settings):
        assert values(kernel)[1] == "2"
    assert values(kernel) == ["core", "2"]


def test_what_a_killed_agent_left_is_never_taken_for_what_was_before(kernel: Path, settings: Settings) -> None:
    """Two installs without a restore between them, and one restore: the user's own setting is back."""
    core_pattern.install(settings)
    core_pattern.install(settings, Options(keep_cores=True))

    assert core_pattern.restore(settings)
    assert values(kernel) == ["core", "0"]
    assert not core_pattern.restore(settings)


def test_the_handler_of_another_agent_is_left_to_it(kernel: Path, settings: Settings) -> None:
    """While the agent that set it lives, no other takes its place or puts anything back."""
    core_pattern.install(settings)
    note = settings.run_dir / "core.before.json"
    other = os.getppid()
    note.write_text(json.dumps({**json.loads(note.read_text()), "agent": [other, registry.start_ticks(other)]}))
    before = values(kernel)

    assert not core_pattern.restore(settings)
    with pytest.raises(UsageError):
        core_pattern.install(settings)
    assert values(kernel) == before


def test_what_somebody_else_set_meanwhile_stays(kernel: Path, settings: Settings) -> None:
    """A setting that is not ours any more is not touched."""
    core_pattern.install(settings)
    (kernel / core_pattern.PATTERN).write_text("|/usr/bin/other %p\n")

    assert core_pattern.restore(settings)
    assert values(kernel)[0] == "|/usr/bin/other %p"


def test_a_damaged_note_restores_nothing(kernel: Path, settings: Settings) -> None:
    """A file that does not say what was before changes nothing."""
    settings.run_dir.mkdir()
    for content in ("", "[]", "{", '{"core_pattern": "x"}'):
        (settings.run_dir / "core.before.json").write_text(content)
        assert not core_pattern.restore(settings)
    assert values(kernel) == ["core", "0"]


def test_who_is_not_root_is_refused(kernel: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and nothing is written."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(NoCorePattern):
        core_pattern.install(settings)
    assert values(kernel) == ["core", "0"]
