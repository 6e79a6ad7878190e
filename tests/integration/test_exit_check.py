"""The last look before a capture leaves: no secret goes because the first look missed it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from spooled import MIB, make_capture, put_capture

from diag.capture.reports import encode, prepare
from diag.config import Settings
from diag.model import Capture
from diag.spool import Account, Spool, id_of
from diag.spool import files as spool_files
from diag.upload import catalogue, exit_check
from diag.upload.local import LocalStore
from diag.upload.uploader import Drained, drain

SECRET = "ghp_" + "a1" * 18
PASSWORD = "correct horse battery"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in a folder of its own."""
    return Spool(tmp_path / "spool", 64 * MIB, 0)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store in a folder of its own."""
    return LocalStore((tmp_path / "store").as_uri())


def put(
    spool: Spool, content: bytes, content_type: str = "application/json", capture: Capture | None = None
) -> Capture:
    """Commit a capture with one artifact as it is, whatever it holds."""
    capture = capture or make_capture()
    with spool.begin(capture) as draft:
        draft.add("artifact", "report", "x", content_type, content)
        return spool.load(draft.commit(capture))


def delivered(store: LocalStore, capture: Capture) -> tuple[Capture, bytes]:
    """What the store has of it, checked against its manifest."""
    found = catalogue.find(store, "default", capture.capture_id)
    with catalogue.fetch(store, "default", capture.capture_id, "artifact") as source:
        return found, source.read()


@pytest.mark.parametrize(
    ("document", "masked"),
    [
        ({"text": f"pushed with {SECRET}"}, {"text": "pushed with [redacted:github-token]"}),
        ({"locals": {"password": PASSWORD, "n": "1"}}, {"locals": {"password": "[redacted:secret]", "n": "1"}}),
        ({"list": ["a", f'say "password=\\"{PASSWORD}\\"" ✓']}, None),
        ({"nested": json.dumps({"api_key": SECRET})}, None),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_json_stays_valid_and_loses_its_secrets(
    spool: Spool, store: LocalStore, document: dict[str, Any], masked: dict[str, Any] | None, indent: int | None
) -> None:
    """Each string is looked at by itself, escaped or not, in whatever layout; hits are counted where they were made."""
    capture = put(spool, json.dumps(document, indent=indent).encode())

    assert drain(spool, store, "default", deadline=None) == Drained(stored=1)

    found, content = delivered(store, capture)
    assert SECRET.encode() not in content and PASSWORD.encode() not in content
    assert masked is None or json.loads(content) == masked
    assert json.loads(content).keys() == document.keys()
    (hit,) = found.redactions
    assert (hit["where"], hit["count"]) == ("exit", 1)
    assert found.artifacts[0].size_bytes == len(content)
    assert not [path for path in spool.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEAq1\n" * 20 + "-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/xml", "text/x-log"])
def test_texts_are_looked_through_in_blocks(
    spool: Spool, store: LocalStore, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a key of many lines lies on the edge of a block; bytes that are no UTF-8 stay what they were."""
    monkeypatch.setattr(exit_check, "BLOCK", 500)
    text = b"one line \xff of a log\n" * 12 + KEY.encode() + b"another line\n" * 40
    capture = put(spool, text, kind)

    assert drain(spool, store, "default", deadline=None).stored == 1

    _, content = delivered(store, capture)
    assert b"MIIE" not in content
    assert content.startswith(b"one line \xff of a log\n" * 12)
    assert content.endswith(b"another line\n" * 40)


def test_what_is_clean_is_sent_as_it_is(spool: Spool, store: LocalStore) -> None:
    """A report that has passed the redactor is not touched again: same bytes, same manifest."""
    content = json.dumps({"signal": "SIGSEGV", "session": "[redacted:secret]", "key": 7}, indent=1).encode()
    capture = put(spool, content, capture=make_capture(redacted=True))

    drain(spool, store, "default", deadline=None)

    assert delivered(store, capture) == (capture, content)


def test_binaries_are_not_touched(spool: Spool, store: LocalStore) -> None:
    """A profile or a packet dump is no text, whatever bytes are in it."""
    content = os.urandom(100) + SECRET.encode()
    capture = put(spool, content, "application/octet-stream")

    drain(spool, store, "default", deadline=None)

    assert delivered(store, capture) == (capture, content)


def test_a_binary_whose_redaction_did_not_finish_is_refused(spool: Spool, store: LocalStore) -> None:
    """Nobody can tell what is in it, so it never leaves; the reason stands beside it."""
    capture = put(spool, b"\0\1", "application/octet-stream", make_capture(redacted=False))

    assert drain(spool, store, "default", deadline=None) == Drained(quarantined=1)

    assert spool.account() == Account(received=1, quarantined=1)
    (reason,) = (spool.root / "quarantine").rglob(".reason")
    assert id_of(reason.parent) == capture.capture_id
    assert "cut off before its secrets were masked" in reason.read_text()
    assert list(store.objects("v1/")) == []


@pytest.mark.parametrize(("name", "sent"), [("stderr.txt", True), ("dump.bin", False)])
def test_what_a_killed_collector_left_is_not_trusted(spool: Spool, store: LocalStore, name: str, sent: bool) -> None:
    """An orphan's raw files have passed no redactor: a text is masked now, anything else is set aside."""
    child = os.fork()
    if child == 0:
        draft = spool.begin(make_capture(redacted=True))
        (draft.folder / name).write_text(f"token={SECRET}\n")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (capture_id,) = spool.recover()
    (folder,) = spool.pending()
    assert spool.read(folder).redacted is False

    drained = drain(spool, store, "default", deadline=None)

    assert (drained.stored, drained.quarantined) == (int(sent), int(not sent))
    objects = [path.read_bytes() for path in store.root.rglob("*") if path.is_file()] if sent else []
    assert not [one for one in objects if SECRET.encode() in one]
    assert bool(list(store.objects("v1/"))) is sent
    assert spool.account().received == 1
    assert capture_id == id_of(folder)


STEPS = ("rename", "fsync", "write")


@pytest.mark.parametrize("step", range(1, 14))
def test_a_kill_in_the_middle_of_masking_loses_nothing(
    spool: Spool, store: LocalStore, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any step, the next uploader finds the old files or the masked ones, never a mix."""
    capture = put(spool, json.dumps({"a": SECRET}, indent=1).encode())
    (folder,) = spool.pending()
    child = os.fork()
    if child == 0:
        try:
            _kill_at(step)
            exit_check.checked(spool, folder)
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert drain(spool, store, "default", deadline=None) == Drained(stored=1)

    found, content = delivered(store, capture)
    assert json.loads(content) == {"a": "[redacted:github-token]"}
    assert found.redactions == ({"rule": "github-token", "count": 1, "where": "exit"},)


def _kill_at(step: int) -> None:
    """Kill this process before the nth call that changes something on the disk."""
    left = step

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return run

    for name in ("rename", "fsync", "write"):
        setattr(os, name, counted(getattr(os, name)))
    Path.rename = counted(Path.rename)  # type: ignore[method-assign]


def test_a_full_disk_sends_nothing_unmasked(spool: Spool, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the masked file cannot be written the capture waits, and leaves when there is room."""
    put(spool, json.dumps({"a": SECRET}).encode())

    def full(descriptor: int, content: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(spool_files, "write_all", full)
        drained = drain(spool, store, "default", deadline=None)

    assert "No space left" in str(drained.trouble)
    assert list(store.objects("v1/")) == []
    assert drain(spool, store, "default", deadline=None) == Drained(stored=1)


def test_a_line_without_end_is_not_held_in_memory(
    spool: Spool, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a text that cannot be looked through in pieces, what was redacted leaves and what was not stays."""
    monkeypatch.setattr(exit_check, "LONGEST", 1000)
    monkeypatch.setattr(exit_check, "BLOCK", 500)
    trusted = put(spool, b'"' + b"x" * 5000 + b'"', capture=make_capture(redacted=True))
    put(spool, b'"' + b"x" * 5000 + b'"', capture=make_capture(redacted=False))

    assert drain(spool, store, "default", deadline=None) == Drained(stored=1, quarantined=1)
    assert delivered(store, trusted)[0].redactions == ()


def test_our_own_reports_pass_untouched(spool: Spool, store: LocalStore, segfault: Any) -> None:
    """What `prepare` makes is marked as redacted, and the last look finds nothing in it."""
    prepared = prepare(segfault, settings=Settings(), kind="crash")
    assert prepared.capture.redacted is True
    capture = put(spool, encode(prepared.report), capture=replace(prepared.capture))

    drain(spool, store, "default", deadline=None)

    found, content = delivered(store, capture)
    assert content == encode(prepared.report)
    assert found.redactions == capture.redactions


def test_an_old_manifest_says_nothing_of_it() -> None:
    """A manifest without the key is neither trusted nor refused."""
    said = make_capture().to_json()
    del said["redacted"]
    assert Capture.from_json(said).redacted is None
    assert Capture.from_json({**said, "redacted": True}).redacted is True


@pytest.fixture
def segfault() -> Any:
    """The evidence of a segmentation fault."""
    import deaths

    return deaths.segfault()


def test_put_capture_is_sent(spool: Spool, store: LocalStore) -> None:
    """The plainest capture of all goes through."""
    put_capture(spool)
    assert drain(spool, store, "default", deadline=None) == Drained(stored=1)
