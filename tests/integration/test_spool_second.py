"""What the first spool cannot take: a second one, then one line of stderr, and each capture is counted once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest
from killing import run_and_kill, spawn
from machine import missing
from spooled import MIB, make_capture, put_capture

from diag import config, spool
from diag.capture.reports import Prepared, deliver, keep
from diag.cli.captures import Captures
from diag.config import Settings
from diag.errors import SpoolUnwritable
from diag.model import Capture
from diag.report.brief import LIMIT_BYTES, PREFIX, one_line
from diag.spool import Account, Spool, id_of, room, spools

REPORT: dict[str, Any] = {
    "trigger": "exception",
    "exit": {"status": 1, "signal": None, "reason": "exit status 1", "evidence": []},
    "signal": None,
    "exception": {
        "type": "KeyError",
        "module": "builtins",
        "message": "'sku'",
        "frames": [{"function": "view", "file": "/srv/app.py", "line": 31, "module": "app", "language": "python"}],
    },
    "threads": [],
}
FULL = 64  # MB of a disk that no spool of these tests may fill


@pytest.fixture
def settings(home: Path) -> Settings:
    """Two spools in a home of its own, without a floor."""
    return replace(config.load(), spool_floor_mb=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        missing("Mounting a file system needs root.")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def prepared(capture: Capture | None = None, **report: Any) -> Prepared:
    """A report and its capture, ready to be kept."""
    return Prepared(capture or make_capture(), {**REPORT, **report}, "report.json")


def accounts(settings: Settings) -> list[Account]:
    """The account of each spool, without the age."""
    return [replace(one.account(), oldest_pending_s=None) for one in spools(settings)]


def said(text: str) -> list[dict[str, Any]]:
    """What the lines on stderr say."""
    return [json.loads(line.removeprefix(PREFIX)) for line in text.splitlines() if line.startswith(PREFIX)]


@pytest.mark.parametrize("root", ["/proc/diag-spool", "/dev/null/spool", "/tmp/" + "x" * 300])
def test_where_no_spool_can_be_the_second_takes_it(settings: Settings, root: str, capfd: Any) -> None:
    """A capture that the first place refuses waits in the run folder, and nothing is lost or said."""
    settings = replace(settings, spool=Path(root))

    kept = keep(prepared(), settings=settings)

    assert settings.run_dir in kept.parents
    assert accounts(settings) == [Account(), Account(received=1, pending=1)]
    assert said(capfd.readouterr().err) == []


def test_a_full_first_spool_hands_on_and_counts_nothing(settings: Settings) -> None:
    """What the quota refuses is received and pending in the second alone; the first has no trace of it."""
    settings = replace(settings, spool_quota_mb=0)

    kept = keep(prepared(), settings=settings)

    first = spools(settings)[0]
    assert accounts(settings) == [Account(), Account(received=1, pending=1)]
    assert list((first.root / "new").iterdir()) == []
    assert spools(settings)[1].load(kept).kind == "crash"


@pytest.mark.parametrize("left", [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24])
def test_wherever_the_disk_ends_it_is_whole_in_the_second(
    settings: Settings, small_disk: Path, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up at any step of the write: the first spool counts nothing, the second has it whole."""
    settings = replace(settings, spool=small_disk / "spool")
    put_capture(Spool.of(settings))
    disk = os.statvfs(small_disk)
    with (small_disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (disk.f_bavail - left) * disk.f_frsize)
    monkeypatch.setattr(room, "_free", lambda root: FULL * MIB)

    kept = keep(prepared(links=["x" * 1000] * 100), settings=settings)

    assert accounts(settings) == [Account(received=1, pending=1), Account(received=1, pending=1)]
    assert settings.run_dir in kept.parents
    assert spool.recover(settings) == []


def test_with_no_spool_at_all_a_log_has_it(settings: Settings, capfd: Any) -> None:
    """The manifest and the essence of the report are one line of stderr, and the caller hears that it is not kept."""
    settings = replace(settings, spool=Path("/proc/one"), spool_second=Path("/proc/two"))
    capture = make_capture(verdict={"cause": "bug", "sentence": "A key was missing."})

    with pytest.raises(SpoolUnwritable, match="/proc/one"):
        keep(prepared(capture), settings=settings)

    (line,) = said(capfd.readouterr().err)
    assert {name: value for name, value in capture.to_json().items() if name != "artifacts"}.items() <= line.items()
    assert line["exception"] == {"type": "KeyError", "module": "builtins", "message": "'sku'"}
    assert line["frames"] == [{"function": "view", "file": "/srv/app.py", "line": 31}]
    assert line["exit"]["status"] == 1


@pytest.mark.parametrize("writable", [0, 1])
def test_what_only_a_log_has_is_counted_where_a_ledger_can_be_written(
    settings: Settings, writable: int, capfd: Any
) -> None:
    """A capture that no spool takes is received once and dropped once, as `stderr`."""
    if writable == 0:
        settings = replace(settings, spool_quota_mb=0, spool_second=Path("/proc/two"))
    else:
        settings = replace(settings, spool=Path("/proc/one"))
        settings = replace(settings, spool_second_quota_mb=1)
        put_capture(spools(settings)[1])
    big = prepared(padding="x" * 2 * MIB)

    for _ in range(2):
        with pytest.raises(SpoolUnwritable):
            keep(replace(big, capture=make_capture()), settings=settings)

    found = accounts(settings)[writable]
    assert found.dropped == {"stderr": 2}
    assert found.received == 2 + writable
    assert found.pending == writable
    assert accounts(settings)[1 - writable] == Account()
    assert len(said(capfd.readouterr().err)) == 2


@pytest.mark.parametrize("setting", ["quota", "same"])
def test_the_second_spool_can_be_switched_off(settings: Settings, setting: str, capfd: Any) -> None:
    """Without a quota, or at the same place, there is one spool, and then stderr."""
    off = {"spool_second_quota_mb": 0} if setting == "quota" else {"spool_second": settings.spool_dir}
    settings = replace(settings, spool_quota_mb=0, **off)

    assert len(spools(settings)) == 1
    with pytest.raises(SpoolUnwritable):
        keep(prepared(), settings=settings)

    assert accounts(settings) == [Account(received=1, dropped={"stderr": 1})]
    assert len(said(capfd.readouterr().err)) == 1


def test_killed_at_any_step_it_is_in_one_spool_at_most(home: Path, settings: Settings) -> None:
    """Killed anywhere between the two spools, a capture is counted in one of them, or in none as if never begun."""
    capture = make_capture()
    outcomes = set()
    for step in range(400):
        here = replace(
            settings, spool=home / f"{step}" / "first", spool_second=home / f"{step}" / "second", spool_quota_mb=0
        )
        done = run_and_kill(step, lambda here=here: keep(prepared(capture), settings=here))  # type: ignore[misc]
        spool.recover(here)
        both = reduce(add, accounts(here))
        assert both.received == both.pending + sum(both.dropped.values()) <= 1
        assert all(spools(here)[1].load(folder) for folder in spools(here)[1].pending())
        outcomes.add((both.received, both.pending))
        if done:
            assert (both.received, both.pending) == (1, 1)
            assert step > 20
            break
    else:
        pytest.fail("it never came to its end")
    assert {(0, 0), (1, 1)} <= outcomes


def test_an_orphan_that_the_second_has_is_not_counted_twice(settings: Settings) -> None:
    """Where the first spool broke so badly that nothing could be taken back, `recover` takes it back later."""
    capture = make_capture()
    first, second = spools(settings)
    draft = first.begin(capture, moves=True)
    draft.add("report.json", "report", "diag-report", "application/json", b"{}")
    draft.close()
    put_capture(second, capture)
    assert reduce(add, accounts(settings)).received == 2

    assert spool.recover(settings) == []

    assert accounts(settings) == [Account(), Account(received=1, pending=1)]


def test_everything_that_lists_and_sends_sees_both(settings: Settings) -> None:
    """A capture in the second spool is listed, found by its id, and delivered like any other."""
    first, second = spools(settings)
    ids = [put_capture(one).capture_id for one in (first, second, first, second)]

    known = Captures(settings)
    assert [one.capture.capture_id for one in known.newest()] == ids[::-1]
    assert known.find(ids[1]).waiting is not None

    kept = keep(prepared(), settings=replace(settings, spool=Path("/proc/one")))
    deliver(kept, settings=settings)

    assert accounts(settings) == [Account(received=2, stored=2), Account(received=3, stored=3)]
    assert {one.capture.capture_id for one in Captures(settings).newest()} == {*ids, id_of(kept)}


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "x" * 100_000},
        {"title": "\udcff\n\x1b" * 10_000},
        {"verdict": {f"k{number}": "y" * 1000 for number in range(1000)}},
        {"redactions": tuple({"rule": "z" * 500, "count": 1} for _ in range(5000))},
        {"fingerprint": "f" * 50_000, "title": "☕" * 50_000},
    ],
)
def test_the_line_is_one_line_and_bounded(fields: dict[str, Any]) -> None:
    """However much there is to say, a log collector gets one line of ASCII with the id, the kind and the title."""
    frames = [{"function": "f" * 5000, "file": "/x" * 5000, "line": number} for number in range(2000)]
    report = {**REPORT, "exception": {**REPORT["exception"], "message": "m" * 10**6, "frames": frames}}
    capture = make_capture(**fields)

    line = one_line(capture, report)

    assert len(line) <= LIMIT_BYTES
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    told = json.loads(line.decode("ascii").removeprefix(PREFIX))
    assert told["capture_id"] == capture.capture_id
    assert told["kind"] == "crash"
    assert capture.title.startswith(told["title"].removesuffix("…"))


def test_a_closed_stderr_changes_nothing(settings: Settings) -> None:
    """Where nobody listens either, the loss is still counted."""
    settings = replace(settings, spool_quota_mb=0, spool_second_quota_mb=0)

    def with_nobody_listening() -> None:
        os.close(2)
        with pytest.raises(SpoolUnwritable):
            keep(prepared(), settings=settings)

    assert os.waitpid(spawn(with_nobody_listening), 0)[1] == 0
    assert accounts(settings) == [Account(received=1, dropped={"stderr": 1})]
