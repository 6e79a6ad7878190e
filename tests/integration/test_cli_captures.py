"""`diag ls`, `get` and `flush` as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import captured
import deaths
import pytest
from instances import DIAG
from machine import TIMEOUT_S
from spooled import folder_of, make_capture, put_capture
from terminals import on_terminal
from viewers import running

from diag import config
from diag.model import Capture, Link, now
from diag.profiles import formats
from diag.spool import Spool

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(home: Path) -> Run:
    """Runs `diag` with these arguments, its output in pipes."""

    def diag(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "diag", *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=home,
            env={**os.environ, **environ},
        )

    return diag


@pytest.fixture
def caught(home: Path) -> list[Capture]:
    """Captures in the spool, newest first."""
    spool = Spool.of(config.load())
    crash = make_capture(links=(Link("req-9", "ab" * 16, None),), pid=1001)
    report = make_capture("report", now() - timedelta(hours=3), title="alive", level=None, links=())
    event = make_capture("event", now() - timedelta(days=2), name="cart", title="\x1b[31mevil\x1b[0m", level="EVENT")
    return [put_capture(spool, one, b'{"n": 1}\n') for one in (crash, report, event)]


def rows(answer: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The rows of `diag ls --json`."""
    assert (answer.returncode, answer.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    return found


def test_what_waits_and_what_is_stored_is_one_list(run: Run, caught: list[Capture]) -> None:
    """A capture is listed from the moment it is committed, once, and says where it is."""
    ids = [one.capture_id for one in caught]
    before = rows(run("ls", "--json"))
    assert [(row["capture_id"], row["stored"]) for row in before] == [(one, False) for one in ids]

    assert run("flush").returncode == 0
    new = put_capture(Spool.of(config.load()))

    after = rows(run("ls", "--json"))
    assert [(row["capture_id"], row["stored"]) for row in after] == [
        (new.capture_id, False),
        *((one, True) for one in ids),
    ]
    assert Capture.from_json(after[1]) == caught[0]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--kind", "crash"], [0]),
        (["--instance", "cart"], [2]),
        (["--instance", "shop-1"], [0, 1, 2]),
        (["--instance", "1001"], [0]),
        (["--request", "req-9"], [0]),
        (["--trace", "AB" * 16], [0]),
        (["--since", "4h"], [0, 1]),
        (["--since", "2020-01-01"], [0, 1, 2]),
        (["--limit", "2"], [0, 1]),
        (["--kind", "report", "--since", "1h"], []),
        (["--kind", "packets"], []),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
@pytest.mark.parametrize("stored", [False, True], ids=["waiting", "stored"])
def test_options_choose(run: Run, caught: list[Capture], options: list[str], wanted: list[int], stored: bool) -> None:
    """Each option narrows the list, in the spool and in the store alike."""
    if stored:
        run("flush")

    assert [row["capture_id"] for row in rows(run("ls", "--json", *options))] == [caught[i].capture_id for i in wanted]


def test_the_table_is_aligned_and_whole_in_a_pipe(run: Run, caught: list[Capture]) -> None:
    """For grep and for people: one line a capture, nothing cut, no colour, no control character of others."""
    answer = run("ls")

    lines = answer.stdout.splitlines()
    assert lines[0].split() == [
        "ID",
        "AGE",
        "KIND",
        "LEVEL",
        "INSTANCE",
        "PID",
        "CAUSE",
        "WHAT",
        "HAPPENED",
        "REQUEST",
        "STATE",
    ]
    assert [line.split()[0] for line in lines[1:]] == [one.capture_id[:8] for one in caught]
    assert [line[lines[0].index("STATE") :] for line in lines[1:]] == ["waiting"] * 3
    assert "\\x1b[31mevil" in lines[3]
    assert "\x1b" not in answer.stdout


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_table_fits_the_terminal(caught: list[Capture], columns: int) -> None:
    """No line wraps, however narrow it is; what happened is always shown."""
    said = on_terminal("ls", columns=columns, NO_COLOR="1")

    lines = said.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= columns
    assert "ValueError" in lines[1]
    assert "\x1b" not in said
    assert "\x1b[" in on_terminal("ls", columns=columns)


def test_ids_are_long_enough_to_be_used(run: Run, home: Path) -> None:
    """Captures of the same minute get longer ids, and each printed id finds its capture."""
    moment = now()
    spool = Spool.of(config.load())
    made = [put_capture(spool, make_capture(moment=moment + timedelta(milliseconds=number))) for number in range(3)]
    run("flush")

    short = [line.split()[0] for line in run("ls", "--limit", "1").stdout.splitlines()[1:]]

    assert short == [made[2].capture_id[:13]]
    assert run("get", short[0], "-o", "out").returncode == 0


def test_nothing_caught_says_what_to_do(run: Run) -> None:
    """An empty list is no error and no riddle."""
    answer = run("ls")
    assert answer.returncode == 0
    assert "diag run" in answer.stdout
    assert rows(run("ls", "--json")) == []


@pytest.mark.parametrize("text", ["soon", "5", "2020-13-45", "999999999w", "-1h"])
def test_a_time_that_is_none_is_refused(run: Run, text: str) -> None:
    """The refusal shows how times are written."""
    answer = run("ls", f"--since={text}")

    assert answer.returncode == 2
    assert "--since 2h" in answer.stderr


def test_a_store_that_is_down_still_shows_what_waits(run: Run, caught: list[Capture]) -> None:
    """What is known is printed, what is missing is said, and the exit code is not 0."""
    answer = run("ls", DIAG_STORE="http://127.0.0.1:9")

    assert answer.returncode == 5
    assert len(answer.stdout.splitlines()) == 4
    assert "http://127.0.0.1:9 does not answer: Connection refused" in answer.stderr


@pytest.mark.parametrize("stored", [False, True], ids=["waiting", "stored"])
def test_get_fetches_all_files(run: Run, caught: list[Capture], home: Path, stored: bool) -> None:
    """All files and the manifest come into a folder named by the id, private, and their paths are printed."""
    if stored:
        run("flush")
    capture_id = caught[0].capture_id

    answer = run("get", capture_id[:13])

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines() == [f"{capture_id}/report.json", f"{capture_id}/manifest.json"]
    assert (home / capture_id / "report.json").read_bytes() == b'{"n": 1}\n'
    assert (home / capture_id / "report.json").stat().st_mode & 0o777 == 0o600
    assert Capture.from_json(json.loads((home / capture_id / "manifest.json").read_text())) == caught[0]
    assert sorted(path.name for path in (home / capture_id).iterdir()) == ["manifest.json", "report.json"]


def test_get_prints_one_file(run: Run, caught: list[Capture]) -> None:
    """`-o -` feeds a pipe."""
    answer = run("get", caught[0].capture_id, "report.json", "-o", "-")

    assert answer.stdout == '{"n": 1}\n'
    assert run("get", caught[0].capture_id, "report", "-o", "-").stdout == answer.stdout
    assert run("get", caught[0].capture_id, "-o", "-").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["ffff"], 1, "No capture has an id that starts with 'ffff'"),
        (["0"], 2, "More than one capture"),
        (["{id}", "../../etc/passwd"], 1, "Its files: report.json"),
        (["{id}", "-o", "/dev/null/x"], 1, "cannot be written: Not a directory"),
    ],
)
def test_get_refuses_with_a_sentence(
    run: Run, caught: list[Capture], arguments: list[str], status: int, says: str
) -> None:
    """What cannot be fetched says why and what there is."""
    run("flush")
    answer = run("get", *(word.format(id=caught[0].capture_id) for word in arguments))

    assert answer.returncode == status
    assert says in answer.stderr
    assert "\x1b" not in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize("form", list(formats.WRITERS))
def test_get_writes_a_profile_in_any_format(run: Run, home: Path, form: str) -> None:
    """The same file in a folder and on stdout, what the viewer's workshop would make of it."""
    made = captured.made(captured.shop(samples=50))
    with Spool.of(config.load()).begin(made.capture) as draft:
        for one in made.capture.artifacts:
            draft.add(one.name, one.kind, one.format, one.content_type, made.files[one.name])
        draft.commit(made.capture)
    path = home / "out" / f"profile{formats.SUFFIXES[form]}"

    answer = run("get", made.id, "-f", form, "-o", "out")

    assert (answer.returncode, answer.stdout) == (0, f"{path.relative_to(home)}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == formats.write(formats.read(made.files["profile.pb.gz"]), form)
    printed = subprocess.run([*DIAG, "get", made.id, "-f", form, "-o", "-"], capture_output=True, timeout=TIMEOUT_S)
    assert printed.stdout == path.read_bytes()


def test_get_writes_a_report_as_one_page(run: Run, home: Path) -> None:
    """`-f html` of a crash: its verdict in a file that only its owner can read, and that needs no other."""
    made = deaths.made(deaths.segfault())
    with Spool.of(config.load()).begin(made.capture) as draft:
        for one in made.capture.artifacts:
            draft.add(one.name, one.kind, one.format, one.content_type, made.files[one.name])
        draft.commit(made.capture)

    answer = run("get", made.id, "-f", "html", "-o", "out")

    path = home / answer.stdout.strip()
    assert (answer.returncode, path.suffix, path.stat().st_mode & 0o777) == (0, ".html", 0o600)
    assert "Crashing thread" in path.read_text()


def test_get_converts_nothing_but_a_profile(run: Run, caught: list[Capture]) -> None:
    """`-f` of a capture without one is refused, with the files that it has."""
    answer = run("get", caught[0].capture_id, "-f", "pprof")

    assert answer.returncode == 2
    assert "no profile" in answer.stderr and "report.json" in answer.stderr


def test_get_hands_out_nothing_that_was_damaged(run: Run, caught: list[Capture], home: Path) -> None:
    """A file that is not what its manifest says is not written."""
    run("flush")
    (stored,) = (home / ".local/state/diag/store").rglob(f"{caught[0].capture_id}/report.json")
    stored.write_bytes(b'{"n": 2}\n')

    answer = run("get", caught[0].capture_id, "-o", "out")

    assert answer.returncode == 1
    assert "not the file that its manifest describes" in answer.stderr
    assert list((home / "out").iterdir()) == []


def test_flush_accounts_for_everything(run: Run, caught: list[Capture]) -> None:
    """What is stored, pending, quarantined and dropped adds up to what was received."""
    spool = Spool.of(config.load())
    spool.drop(caught[2].capture_id, "quota")
    spool.begin(make_capture())  # its writer lives, and has nothing yet

    answer = run("flush", "--json")

    account = json.loads(answer.stdout)
    assert answer.returncode == 5
    assert "another diag is writing" in answer.stderr
    assert (account["received"], account["stored"], account["pending"], account["dropped"]) == (4, 2, 1, {"quota": 1})
    assert account["now"]["stored"] == 2
    assert account["oldest_pending_s"] >= 0


def test_flush_says_why_something_waits(run: Run, caught: list[Capture]) -> None:
    """A viewer that is down: exit code 5, the number, the reason, and nothing is lost."""
    answer = run("flush", DIAG_STORE="http://127.0.0.1:9")

    assert answer.returncode == 5
    assert "pending      3   the oldest for 2d" in answer.stdout
    assert "3 captures wait in" in answer.stderr
    assert "Connection refused" in answer.stderr
    assert run("flush").returncode == 0
    assert [row["stored"] for row in rows(run("ls", "--json"))] == [True] * 3


def test_flush_finishes_what_a_killed_agent_left(run: Run) -> None:
    """A writer killed in the middle leaves a capture that is found, marked incomplete and stored."""
    spool = Spool.of(config.load())
    child = os.fork()
    if child == 0:
        try:
            spool.begin(make_capture()).add("report.json", "report", "json", "application/json", b"{}")
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(child, 0)

    answer = run("flush")

    assert answer.returncode == 0
    assert "1 found after a killed agent" in answer.stdout
    (row,) = rows(run("ls", "--json"))
    assert row["stored"]
    assert row["incomplete"] == [{"section": "artifacts", "reason": "the agent was killed while it wrote this capture"}]


def test_flush_to_a_viewer_that_wants_a_token(run: Run, caught: list[Capture], home: Path) -> None:
    """A refused token is said once with what to do; with the right one everything goes."""
    (home / "tokens").write_text("agent g-token\nviewer v-token\n")
    with running(home / "viewer", "--tokens", str(home / "tokens")) as viewer:
        refused = run("flush", DIAG_STORE=viewer.url, DIAG_TOKEN="wrong")
        accepted = run("flush", DIAG_STORE=viewer.url, DIAG_TOKEN="g-token")
        listed = run("ls", "--json", DIAG_STORE=viewer.url, DIAG_TOKEN="v-token")

    assert refused.returncode == 5
    assert "refuses" in refused.stderr
    assert accepted.returncode == 0
    assert [row["capture_id"] for row in rows(listed)] == [one.capture_id for one in caught]


def test_a_quarantined_capture_is_pointed_at(run: Run, caught: list[Capture]) -> None:
    """What will never be taken is said, with the folder where the reason stands."""
    folder = folder_of(Spool.of(config.load()), caught[0])
    (folder / "report.json").write_bytes(b"damaged")

    answer = run("flush")

    assert answer.returncode == 0
    assert "quarantined  1   1 now" in answer.stdout
    assert ".reason says why" in answer.stderr


@pytest.mark.parametrize("command", ["ls", "get", "flush"])
def test_help_has_examples(run: Run, command: str) -> None:
    """Each command shows how it is used."""
    answer = run(command, "--help")

    assert answer.returncode == 0
    assert f"Examples:\n    diag {command}" in answer.stdout
