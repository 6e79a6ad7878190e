"""`diag show`, on captures in the spool and in the store, and on files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deaths
import overheard
import pytest
from machine import TIMEOUT_S
from unit.report.factory import crashed, made, raised

from diag import config
from diag.capture import reports
from diag.model import Capture, new_capture_id, now, stamp
from diag.spool import Spool

Diag = Callable[..., subprocess.CompletedProcess[str]]
SEGFAULT = crashed(11, address=0, trapno=14)


@pytest.fixture
def caught() -> Capture:
    """A crash that waits in the spool."""
    return reports.record(SEGFAULT, settings=config.load(), kind="crash")


def test_a_waiting_capture_is_shown(diag: Diag, caught: Capture) -> None:
    """A report that is not uploaded yet is found by the start of its id; in a pipe it has no escapes."""
    answer = diag("show", caught.capture_id[:13])
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[1] == "  SIGSEGV in crash_view (app.py:20)"
    assert "\x1b" not in answer.stdout


def test_a_stored_capture_is_shown(diag: Diag, caught: Capture) -> None:
    """The same report comes from the store once it is there."""
    before = diag("show", caught.capture_id)
    assert diag("flush").returncode == 0
    assert list(Spool.of(config.load()).pending()) == []
    assert diag("show", caught.capture_id).stdout == before.stdout


def test_json_is_the_report(diag: Diag, caught: Capture) -> None:
    """`--json` prints the report as it is kept."""
    report = json.loads(diag("show", caught.capture_id, "--json").stdout)
    assert report["captureId"] == caught.capture_id
    assert report["signal"]["name"] == "SIGSEGV"


def test_all_shows_every_thread(diag: Diag, caught: Capture) -> None:
    """`--all` unfolds the other threads."""
    assert "THREAD 4712" not in diag("show", caught.capture_id).stdout
    assert "THREAD 4712" in diag("show", caught.capture_id, "--all").stdout


def test_a_file_and_standard_input(diag: Diag, tmp_path: Path) -> None:
    """A report file is shown by its path, or from standard input."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(made(raised())))
    shown = diag("show", str(path)).stdout
    assert "KeyError: 'sku' in view (app.py:20)" in shown
    command = [sys.executable, "-m", "diag", "show", "-"]
    # The environment is given, because pytest's readline leaves COLUMNS in the one that would be inherited.
    piped = subprocess.run(
        command,
        input=path.read_text(),
        capture_output=True,
        text=True,
        env={**os.environ},
        timeout=TIMEOUT_S,
        check=True,
    )
    assert piped.stdout == shown


def without(key: str) -> dict[str, Any]:
    """A report that lacks a section."""
    return {name: value for name, value in made(raised()).items() if name != key}


BAD = {
    "text": ("hello", "is not JSON"),
    "cut": ('{"header": {"reportVersion": 5', "is not JSON"),
    "binary": ("\x7fELF\0\1", "is not JSON"),
    "deep": ("[" * 100_000, "is not JSON"),
    "list": ("[]", "it has no `header`"),
    "another version": ('{"header": {"reportVersion": 99}}', "its `reportVersion` is 99"),
    "Node's": ('{"header": {"reportVersion": 3}, "javascriptStack": {}}', "it is Node's own"),
    "no threads": (json.dumps(without("threads")), "it has no `threads`"),
    "threads of another kind": (json.dumps({**without("x"), "threads": {}}), "its `threads` is no array"),
    "damaged inside": (
        json.dumps({**without("x"), "threads": [7], "exception": None, "trigger": "signal"}),
        "is damaged",
    ),
    "a hole inside": (json.dumps({**without("x"), "verdict": {}}), "is damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_report_is_refused(diag: Diag, tmp_path: Path, case: str) -> None:
    """One sentence says why, with exit code 1; nothing else is printed, and no traceback."""
    content, reason = BAD[case]
    path = tmp_path / "x.json"
    path.write_text(content)
    answer = diag("show", str(path))
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith(f"diag: {path} ")
    assert reason in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_file_and_an_unknown_id(diag: Diag) -> None:
    """A path or an id that is not there is said so, with what to do next."""
    missing = diag("show", "./no-such.json")
    assert missing.returncode == 1
    assert "No such file" in missing.stderr
    unknown = diag("show", "0123")
    assert unknown.returncode == 1
    assert "`diag ls`" in unknown.stderr


def test_a_capture_without_report_lists_its_files(diag: Diag) -> None:
    """A profile has no report: its files are named, and the command that fetches them."""
    other = Capture(new_capture_id(), "profile", "api", stamp(now()), SEGFAULT.instance)
    draft = Spool.of(config.load()).begin(other)
    draft.add("cpu.pb.gz", "profile", "pprof", "application/gzip", b"x")
    draft.commit(other)
    answer = diag("show", other.capture_id)
    assert answer.returncode == 1
    assert "(profile) has no report" in answer.stderr
    assert "cpu.pb.gz" in answer.stderr
    assert f"diag get {other.capture_id}" in answer.stderr


def test_packets_are_shown_as_tables(diag: Diag) -> None:
    """What was slow with its request, what failed, who talked with whom; nothing of it is obeyed by a terminal."""
    asked = {**overheard.EXCHANGE, "what": "GET /\x1b[31mcart"}
    made = overheard.made(json.dumps({**overheard.SUMMARY, "slowest": [asked]}).encode())
    deaths.write(made, Path(config.load().store_url.removeprefix("file://")))

    answer = diag("show", made.id)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert "42 packets in 3.0 s, 1 conversation\n  1 exchange decoded, 1 failed" in answer.stdout
    assert re.search(r"250.0 ms +http +GET /\\x1b\[31mcart +500 +10.0.0.2:80 +req-17", answer.stdout)
    assert re.search(r"2 +refused +10.0.0.1:40001 +10.0.0.3:81", answer.stdout)
    assert re.search(r"10.0.0.1:40000 +10.0.0.2:80 +http +2 KiB +512 B +1500.0 ms +closed", answer.stdout)
    assert json.loads(diag("show", made.id, "--json").stdout)["packets"] == 42
