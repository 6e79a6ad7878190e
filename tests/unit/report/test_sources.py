"""Lines of source in a report: those around the frame, redacted, of files that the program itself may read."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from reports import validate
from unit.report.factory import HOST, MOMENT, crashed, native, process, python_frame, raised

from diag.evidence import ExceptionSeen
from diag.redact import Redactor
from diag.report.assemble import assemble

TEXT = 'TEA = 4\nDB_PASSWORD = "hunter2hunter2"\n\n\ndef total(item):\n    return {}[item]\n\n\ntotal("cup")\n'


def report(path: Path, line: int = 6, lines: int = 2, *, cause: bool = False, **changes: Any) -> dict[str, Any]:
    """The report of an exception on this line of the file."""
    frames = (python_frame("total", line, str(path)), python_frame("<module>", 9, str(path)))
    chained = ExceptionSeen("OSError", "builtins", "x", frames) if cause else None
    facts = process(uid=os.geteuid(), start_time=MOMENT, **changes)
    seen = raised(frames=frames, process=facts, **({"cause": chained} if chained else {}))
    return validate(assemble(seen, Redactor(), host=HOST, source_lines=lines))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A program that was written before it started."""
    file = tmp_path / "shop.py"
    file.write_text(TEXT)
    before = (MOMENT - timedelta(days=1)).timestamp()
    os.utime(file, (before, before))
    return file


def test_the_innermost_shows_lines_around_and_the_others_their_own(path: Path) -> None:
    """Numbers are the file's, and the report stays small: each stack has one window."""
    found = report(path, cause=True)
    frames = found["exception"]["frames"]
    assert frames[0]["source"] == {"first": 4, "lines": ["", *TEXT.splitlines()[4:8]], "changed": False}
    assert frames[1]["source"] == {"first": 9, "lines": ['total("cup")'], "changed": False}
    assert len(found["exception"]["cause"]["frames"][0]["source"]["lines"]) == 5
    assert "source" not in found["pythonStack"]["frames"][0]
    assert not [gap for gap in found["incomplete"] if gap["section"] == "source"]


def test_a_secret_in_source_is_masked(path: Path) -> None:
    """What its form or its name gives away is masked; a key over several lines costs the lines around it."""
    assert report(path, 2)["exception"]["frames"][0]["source"]["lines"][1] == 'DB_PASSWORD = "[redacted:secret]"'
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "QUJD" * 16 + "\n" + "-----END RSA PRIVATE KEY-----\n"
    path.write_text(f'KEY = """{key}"""\n' + TEXT)
    assert "QUJD" not in str(report(path, 6))


def test_a_file_that_was_changed_since_says_so(path: Path) -> None:
    """Its lines may be others than those that ran."""
    os.utime(path, (MOMENT.timestamp() + 60,) * 2)
    assert report(path)["exception"]["frames"][0]["source"]["changed"] is True


def test_zero_lines_are_none(path: Path) -> None:
    """The setting turns it off, without a word of what is missing."""
    found = report(path, lines=0)
    assert "source" not in found["exception"]["frames"][0]
    assert "source" not in {gap["section"] for gap in found["incomplete"]}


def test_another_users_program_leads_us_to_no_file(path: Path) -> None:
    """Who may read more than the program is not led by a name that the program gave."""
    facts = {"uid": os.geteuid() + 1}
    seen = raised(frames=(python_frame("total", 6, str(path)),), process=replace(process(), **facts))
    found = assemble(seen, Redactor(), host=HOST, source_lines=3)
    assert "source" not in found["exception"]["frames"][0]
    assert "source" in {gap["section"] for gap in found["incomplete"]}


@pytest.mark.parametrize("name", ["id_rsa", "gone.py", "pipe.py", "folder.py", "huge.py", "short.py"])
def test_what_is_no_source_is_not_read(tmp_path: Path, name: str) -> None:
    """Neither another suffix, nor what is no file, nor a line that the file does not have."""
    (tmp_path / "id_rsa").write_text(TEXT)
    (tmp_path / "short.py").write_text("x\n")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "huge.py").write_text("x = 1\n" * 1_000_000)
    assert "source" not in report(tmp_path / name)["exception"]["frames"][0]


def test_a_native_crash_shows_the_python_line(path: Path) -> None:
    """Without an exception the crashed thread has it."""
    frames = (native("strlen"), python_frame("total", 6, str(path)))
    seen = crashed(11, frames, process=process(uid=os.geteuid()), address=0, trapno=14)
    found = assemble(seen, Redactor(), host=HOST, source_lines=1)
    assert found["threads"][0]["frames"][1]["source"]["lines"][1] == "    return {}[item]"
