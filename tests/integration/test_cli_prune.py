"""`diag prune`, `diag pin` and `diag unpin`, as people and cron type them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import deaths
import pytest
from machine import TIMEOUT_S
from spooled import MIB, make_capture
from viewers import running

from diag.model import Capture, now
from diag.spool import Spool
from diag.upload import keys
from diag.upload.local import LocalStore
from diag.upload.uploader import drain

Diag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def store(home: Path) -> LocalStore:
    """The store that commands use without any setting."""
    return LocalStore((home / ".local" / "state" / "diag" / "store").as_uri())


@pytest.fixture
def catch(store: LocalStore, tmp_path: Path) -> Callable[..., Capture]:
    """Puts a capture of so many days ago into the store."""
    spool = Spool(tmp_path / "spool", 64 * MIB, 0)

    def put(days: float = 40, kind: str = "crash", **fields: Any) -> Capture:
        capture = make_capture(kind, now() - timedelta(days=days), **fields)
        with spool.begin(capture) as draft:
            draft.add("a.json", "report", "json", "application/json", b"x" * 1000)
            capture = spool.load(draft.commit(capture))
        assert drain(spool, store, "default", deadline=None).trouble is None
        return capture

    return put


@pytest.fixture
def policy(home: Path) -> Callable[[str], Path]:
    """Writes the settings file."""

    def write(text: str) -> Path:
        path = home / ".config" / "diag" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def ids(diag: Diag) -> list[str]:
    """What `diag ls` lists, newest first."""
    return [one["capture_id"] for one in json.loads(diag("ls", "--json").stdout)]


def pruned(diag: Diag, *options: str) -> list[str]:
    """The ids that `diag prune --json` says it has removed."""
    done = diag("prune", "--yes", "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return [one["capture_id"] for one in json.loads(done.stdout)["removed"]]


# --- the rules ------------------------------------------------------------------------------------------------------


def test_without_a_rule_nothing_is_removed(diag: Diag, catch: Callable[..., Capture]) -> None:
    """Neither settings nor options say what may go: the refusal shows how to say it."""
    old = catch(4000)

    done = diag("prune", "--yes")

    assert done.returncode == 2
    assert "[[retention]]" in done.stderr and "--older-than" in done.stderr
    assert ids(diag) == [old.capture_id]


def test_the_rules_of_the_settings_are_carried_out(
    diag: Diag, catch: Callable[..., Capture], policy: Callable[[str], Path]
) -> None:
    """Profiles go after two weeks, crashes after ninety days, and of one fingerprint a few stay."""
    policy(
        '[[retention]]\nkind = "profile"\nkeep_days = 14\n'
        '[[retention]]\nkind = "crash"\nkeep_days = 90\nkeep_per_fingerprint = 2\n'
    )
    profile, fresh = catch(15, "profile"), catch(13, "profile")
    ancient, report = catch(91), catch(400, "report")
    first, between, last = (catch(day, fingerprint="aa") for day in (30, 20, 10))

    assert set(pruned(diag)) == {one.capture_id for one in (profile, ancient, between)}
    assert ids(diag) == [one.capture_id for one in (last, fresh, first, report)]


@pytest.mark.parametrize(
    ("options", "goes"),
    [
        (("--older-than", "30d"), {"old", "mail", "profile"}),
        (("--older-than", "30d", "--kind", "profile"), {"profile"}),
        (("--older-than", "4w", "--service", "mail"), {"mail"}),
        (("--older-than", "1h", "--fingerprint", "aa"), {"old", "young"}),
        (("--keep-per-fingerprint", "1"), set()),
        (("--max-size", "0"), {"old", "young", "mail", "profile"}),
        (("--max-size", "6.5K"), {"profile"}),
        (("--max-size", "1.5G"), set()),
    ],
)
def test_options_make_a_rule(
    diag: Diag, catch: Callable[..., Capture], options: tuple[str, ...], goes: set[str]
) -> None:
    """Each option says what it says, alone and with others."""
    mail = make_capture().instance.to_json() | {"service": "mail"}
    made = {
        "old": catch(40, fingerprint="aa"),
        "young": catch(2, fingerprint="aa"),
        "mail": catch(50, instance=type(make_capture().instance).from_json(mail)),
        "profile": catch(60, "profile"),
    }

    assert set(pruned(diag, *options)) == {made[name].capture_id for name in goes}


def test_options_stand_for_the_settings(
    diag: Diag, catch: Callable[..., Capture], policy: Callable[[str], Path]
) -> None:
    """What is typed is what is meant: the settings' rules are not added to it."""
    policy("[[retention]]\nkeep_days = 1\n")
    old, young = catch(40), catch(2)

    assert pruned(diag, "--older-than", "30d") == [old.capture_id]
    assert ids(diag) == [young.capture_id]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--older-than", "soon"), "--older-than 12h"),
        (("--max-size", "much"), "--max-size 20G"),
        (("--max-size", "-1"), "--max-size 20G"),
        (("--kind", "crash"), "--keep-per-fingerprint 20"),
        (("--keep-per-fingerprint", "0"), "--keep-per-fingerprint"),
        (("--older-than",), "requires an argument"),
    ],
)
def test_wrong_options_are_refused(
    diag: Diag, catch: Callable[..., Capture], options: tuple[str, ...], says: str
) -> None:
    """A typing error removes nothing, and the refusal says what can be typed."""
    old = catch()

    done = diag("prune", "--yes", *options)

    assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert ids(diag) == [old.capture_id]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ('kind = "crash"', "it limits nothing"),
        ("keep_days = -1", "keep_days = -1 is not a number"),
        ("keep_days = nan", "is not a number"),
        ("keep_days = true", "is not a number"),
        ('keep_days = "30d"', "is not a number"),
        ("keep_per_fingerprint = 0", "whole number from 1 on"),
        ("keep_per_fingerprint = 2.5", "whole number from 1 on"),
        ("kind = 7\nkeep_days = 1", "kind is not a text"),
        ("keep_day = 1", "unknown key 'keep_day'"),
    ],
)
def test_a_wrong_rule_is_named(diag: Diag, policy: Callable[[str], Path], rule: str, why: str) -> None:
    """The refusal names the file, the rule by its number, and what is wrong with it; every command says so."""
    path = policy(f"[[retention]]\nkeep_days = 9\n[[retention]]\n{rule}\n")

    for command in (("prune", "--yes"), ("ls",)):
        done = diag(*command)
        assert done.returncode == 2
        assert f"Rule 2 of retention in {path}" in done.stderr and why in done.stderr


def test_rules_can_stand_in_a_variable(diag: Diag, catch: Callable[..., Capture]) -> None:
    """Where there is no file, as in a cron job of Kubernetes, the variable holds the same array."""
    old, young = catch(), catch(1)

    done = diag("prune", "--yes", DIAG_RETENTION='[{kind = "crash", keep_days = 30}]')
    wrong = [diag("prune", "--yes", DIAG_RETENTION=text) for text in ("30d", "[1]", '{kind = "x"}', "")]

    assert done.returncode == 0
    assert ids(diag) == [young.capture_id] != [old.capture_id]
    assert [one.returncode for one in wrong] == [2, 2, 2, 2]
    assert all("DIAG_RETENTION" in one.stderr or "retention" in one.stderr for one in wrong)


# --- what it says ---------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_go(diag: Diag, catch: Callable[..., Capture]) -> None:
    """Line by line and in sum, for people and for programs; and a real run does exactly that."""
    old, pinned = catch(), catch()
    catch(1)
    diag("pin", pinned.capture_id)

    text = diag("prune", "--older-than", "30d", "--dry-run")
    before = ids(diag)
    dry = json.loads(diag("prune", "--older-than", "30d", "--dry-run", "--json").stdout)
    real = json.loads(diag("prune", "--older-than", "30d", "--yes", "--json").stdout)

    assert (text.returncode, text.stderr) == (0, "")
    lines = text.stdout.splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [
        ["would", "remove", old.capture_id],
        ["pinned", pinned.capture_id, "40d"],
    ]
    assert "older than 30 days" in lines[0] and "ValueError: no price" in lines[0]
    assert lines[2].startswith("1 capture would go, ") and lines[2].endswith("1 pinned and 0 held stay")
    assert len(before) == 3
    assert (
        dry["removed"]
        == real["removed"]
        == [{"capture_id": old.capture_id, "size_bytes": dry["freed_bytes"], "rule": "older than 30 days"}]
    )
    assert [one["capture_id"] for one in dry["pinned"]] == [pinned.capture_id]
    assert (dry.pop("dry_run"), real.pop("dry_run")) == (True, False)
    assert dry == real
    assert "Nothing goes" in diag("prune", "--older-than", "30d", "--yes").stdout


def test_control_characters_of_a_title_stay_off_the_terminal(diag: Diag, catch: Callable[..., Capture]) -> None:
    """A title comes from a program that died, and drives nobody's terminal."""
    catch(title="\x1b[2Jgone\nremoved  x")

    done = diag("prune", "--older-than", "1d", "--dry-run")

    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 2


def test_what_cannot_be_read_is_told_on_stderr(diag: Diag, catch: Callable[..., Capture], store: LocalStore) -> None:
    """It is left alone, and the run has done its work."""
    bad, good = catch(), catch()
    (store.root / keys.key("default", bad.capture_id, keys.MANIFEST)).write_text("{")

    done = diag("prune", "--older-than", "1d", "--yes")

    assert done.returncode == 0
    assert f"{bad.capture_id} is left alone" in done.stderr
    assert f"removed       {good.capture_id}" in done.stdout


def test_a_budget_that_cannot_be_kept_is_told(diag: Diag, catch: Callable[..., Capture]) -> None:
    """What has to stay is more than the rule allows: said, with how much."""
    catch(0)

    done = diag("prune", "--max-size", "0", "--yes")

    assert done.returncode == 0
    assert "more than the rules allow" in done.stderr


# --- asking ---------------------------------------------------------------------------------------------------------


def answering(answer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`diag` with a terminal as its standard input, on which this is typed."""
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "diag", *arguments]
        with subprocess.Popen(
            command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            os.write(ours, answer.encode())
            stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
    finally:
        os.close(ours)
        os.close(theirs)


def test_it_asks_on_a_terminal(diag: Diag, catch: Callable[..., Capture]) -> None:
    """First it shows what would go; only a yes removes it."""
    old = catch()

    no = answering("n\n", "prune", "--older-than", "30d")
    after_no = ids(diag)
    yes = answering("y\n", "prune", "--older-than", "30d")

    assert (no.returncode, after_no) == (130, [old.capture_id])
    assert "would remove" in no.stdout and "Remove them?" in no.stderr
    assert yes.returncode == 0
    assert "1 capture removed" in yes.stdout
    assert ids(diag) == []


def test_nobody_to_ask_is_said(diag: Diag, catch: Callable[..., Capture]) -> None:
    """From cron it takes --yes: nothing is removed because nobody was there to say no."""
    old = catch()

    done = diag("prune", "--older-than", "30d")

    assert done.returncode == 2 and "--yes" in done.stderr
    assert ids(diag) == [old.capture_id]


# --- the store ------------------------------------------------------------------------------------------------------


def test_a_store_that_fails_ends_the_run(diag: Diag) -> None:
    """As with every command: 5 where it does not answer."""
    done = diag("prune", "--older-than", "1d", "--yes", "--json", DIAG_STORE="http://127.0.0.1:9")

    assert done.returncode == 5


@pytest.mark.parametrize(("token", "status"), [("v-token", 3), ("o-token", 3), ("g-token", 3), ("a-token", 0)])
def test_through_a_viewer_it_takes_an_admin(
    diag: Diag, catch: Callable[..., Capture], home: Path, store: LocalStore, token: str, status: int
) -> None:
    """Others may not remove; the viewer lists what an admin removed no more, at once."""
    old = catch()
    (home / "tokens").write_text("viewer v-token\noperator o-token\nadmin a-token\nagent g-token\n")
    with running(store.root, "--tokens", str(home / "tokens")) as viewer:
        ends = time.monotonic() + TIMEOUT_S
        while not viewer.get("api/v1/captures", "a-token").json()["captures"]:  # the index is built behind the pages
            assert time.monotonic() < ends
            time.sleep(0.05)
        done = diag("prune", "--older-than", "30d", "--yes", DIAG_STORE=viewer.url, DIAG_TOKEN=token)
        left = viewer.get("api/v1/captures", "a-token").json()["captures"]

    assert done.returncode == status, done.stderr
    assert [one["capture_id"] for one in left] == ([] if status == 0 else [old.capture_id])
    assert bool(list(store.objects("v1/default/"))) is bool(status)


# --- pins -----------------------------------------------------------------------------------------------------------


def test_a_pin_is_shown_everywhere(diag: Diag, catch: Callable[..., Capture]) -> None:
    """By `diag ls`, in its JSON, and by `diag show`; with who and why."""
    pinned, other = catch(2), catch(1)

    done = diag("pin", pinned.capture_id[:13], "--reason", "the post-mortem; password=hunter2hunter2")
    again = json.loads(diag("pin", pinned.capture_id, "--json").stdout)

    assert done.returncode == 0 and "the post-mortem" in done.stdout and "hunter2" not in done.stdout
    assert again["capture_id"] == pinned.capture_id and "the post-mortem" in again["reason"]
    assert {one["capture_id"]: one["pinned"] for one in json.loads(diag("ls", "--json").stdout)} == {
        pinned.capture_id: True,
        other.capture_id: False,
    }
    listing = diag("ls").stdout.splitlines()
    assert [line.rstrip().rpartition(" ")[2] for line in listing] == ["STATE", "stored", "pinned"]

    assert "no longer pinned" in diag("unpin", pinned.capture_id).stdout
    assert "was not pinned" in diag("unpin", pinned.capture_id).stdout
    assert "STATE" not in diag("ls").stdout


def test_show_tells_of_the_pin(diag: Diag, store: LocalStore) -> None:
    """Before the report stands who keeps it and why; the JSON is the report alone, as it is stored."""
    made = deaths.write(deaths.made(deaths.segfault()), store.root)
    diag("pin", made.id, "--reason", "\x1b[2Jthe post-mortem")

    text, as_json = diag("show", made.id), diag("show", made.id, "--json")

    first = text.stdout.splitlines()[0]
    assert first.startswith(f"{made.id} is pinned since ") and first.endswith("the post-mortem")
    assert "\x1b[2J" not in text.stdout
    assert json.loads(as_json.stdout)["header"]


def test_what_is_not_there_cannot_be_pinned(diag: Diag) -> None:
    """An id that nobody knows is refused, and no pin is left."""
    done = diag("pin", make_capture().capture_id)

    assert done.returncode == 1
    assert "diag ls" in done.stderr


def test_a_pin_that_outlived_its_capture_can_be_taken_away(
    diag: Diag, catch: Callable[..., Capture], store: LocalStore
) -> None:
    """Somebody deleted the capture by hand: its whole id still names the pin."""
    capture = catch()
    diag("pin", capture.capture_id)
    for one in list(store.objects(keys.prefix("default", capture.capture_id))):
        store.delete(one.key)

    assert "no longer pinned" in diag("unpin", capture.capture_id).stdout
    assert list(store.objects("v1/default/")) == []
