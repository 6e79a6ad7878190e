"""What py-spy's JSON becomes."""

from __future__ import annotations

import json
import os

import pytest

from diag.collectors import external, pyspy
from diag.errors import ToolFailed, ToolMissing

FRAME = {"name": "f", "filename": "/srv/a.py", "module": None, "line": 3, "locals": None}


def row(**changes: object) -> dict[str, object]:
    """One thread as py-spy prints it."""
    thread = {"pid": os.getpid(), "thread_id": 99, "os_thread_id": os.getpid(), "frames": [FRAME]}
    return {**thread, "thread_name": "MainThread", "active": True, "owns_gil": False, **changes}


def parse(*rows: dict[str, object]) -> tuple[pyspy.Thread, ...]:
    """The rows, through JSON."""
    return pyspy.parse(json.dumps(rows).encode(), os.getpid())


def test_python_and_native_frames_are_told_apart() -> None:
    """A frame with a module is native; a bare address is kept as a number, a repeated path is no source file."""
    native = {"name": "0x7f16b8b85ad8", "filename": "/lib/libc.so.6", "module": "/lib/libc.so.6", "line": 0}
    compiled = {"name": "go", "filename": "go.c", "module": "/srv/x.so", "line": 7}

    (thread,) = parse(row(frames=[native, compiled, FRAME]))

    assert [(f.language, f.file, f.line, f.address) for f in thread.frames] == [
        ("native", None, None, 0x7F16B8B85AD8),
        ("native", "go.c", 7, None),
        ("python", "/srv/a.py", 3, None),
    ]


def test_code_that_stands_in_no_file_is_native() -> None:
    """What a just-in-time compiler made: py-spy has an address for a name, no module, and "?" for a file."""
    made = {"name": "0x7f363809700b", "filename": "?", "module": None, "line": 0, "locals": None}

    (thread,) = parse(row(frames=[made, FRAME]))

    assert [(f.language, f.file, f.address) for f in thread.frames] == [
        ("native", None, 0x7F363809700B),
        ("python", "/srv/a.py", None),
    ]


def test_locals_are_names_and_texts() -> None:
    """Locals are a mapping; a missing text is empty; not asked for is None."""
    variables = [
        {"name": "x", "addr": 1, "arg": True, "repr": "41"},
        {"name": "y", "addr": 2, "arg": False, "repr": None},
    ]

    (thread,) = parse(row(frames=[{**FRAME, "locals": variables}, FRAME]))

    assert [frame.locals for frame in thread.frames] == [{"x": "41", "y": ""}, None]


def test_other_processes_are_left_out() -> None:
    """Only the process that was asked for."""
    assert len(parse(row(), row(pid=1))) == 1


@pytest.mark.parametrize("content", [b"", b"{}x", b'[{"pid": 1}]', b"[1]", b'{"a": 1}', b"\xff\xfe"])
def test_what_is_not_its_json_is_an_error(content: bytes) -> None:
    """Output that cannot be understood is a failed tool, not a crash of ours."""
    with pytest.raises(ToolFailed):
        pyspy.parse(content, 1)


def test_thread_without_the_kernels_number_keeps_its_own() -> None:
    """py-spy does not know the kernel's number on every version."""
    assert parse(row(os_thread_id=None))[0].thread_id == 99


def test_missing_tool_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without py-spy the error names the command that installs it."""
    monkeypatch.setattr(external.sys, "executable", "/nonexistent/python")
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(ToolMissing) as caught:
        pyspy.find()

    assert caught.value.help_text == "pip install py-spy"
    assert caught.value.exit_code == 4
