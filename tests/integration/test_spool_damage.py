"""Whatever stands in a spool's folder: no command fails of it, nothing good is lost, nothing is tried for ever."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from machine import TIMEOUT_S
from spooled import MIB, folder_of, make_capture, put_capture

from diag import config
from diag.errors import CorruptCapture, SpoolUnwritable
from diag.model import Capture, new_capture_id
from diag.spool import Spool, id_of
from diag.upload import accounts, status
from diag.upload.local import LocalStore
from diag.upload.uploader import drain

ODD_NAMES = ("x", "..x", "%00", "a b", "\udcff", "0" * 200, "-rf", "manifest.json", "0191", "FFFFFFFF")
ENDINGS = ("", ".", ".1", ".1.2", ".-1.00000000", ".fffffffff.00000000", ".1.0000000g", ".1.00000000.x")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in a folder of its own, with two captures."""
    found = Spool(tmp_path / "spool", 64 * MIB, 0)
    put_capture(found)
    put_capture(found, make_capture("report"))
    return found


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store in a folder of its own."""
    return LocalStore((tmp_path / "store").as_uri())


def bucket(spool: Spool) -> Path:
    """The folder in which the newest crash stands."""
    return next(spool.pending()).parent


def files_for_folders(spool: Spool) -> None:
    """Files where folders belong."""
    name = next(spool.pending()).name
    for place in ("pending", "pending/crash", "new", "completed", "quarantine"):
        (spool.root / place / new_capture_id()).write_bytes(b"x")
        (spool.root / place / "ffffffff").write_bytes(b"x")
    (bucket(spool) / (name[:-1] + ("0" if name[-1] != "0" else "1"))).write_bytes(b"x")


def links(spool: Spool) -> None:
    """Links to folders, to nothing, and in circles."""
    folder = next(spool.pending())
    for place in ("pending", "pending/crash", "new", "completed", "quarantine"):
        (spool.root / place / new_capture_id()).symlink_to(folder)
        (spool.root / place / "fffffffe").symlink_to(".")
    other = folder.name.replace(id_of(folder), new_capture_id())
    (folder.parent / other).symlink_to(folder)
    (folder.parent / "loop").symlink_to("loop")


def odd_names(spool: Spool) -> None:
    """Folders whose names are none of ours."""
    for name in ODD_NAMES:
        for place in (spool.root, *(spool.root / one for one in ("pending", "pending/crash", "new", "quarantine"))):
            (place / name).mkdir(exist_ok=True)
        (bucket(spool) / name).mkdir(exist_ok=True)
    for ending in ENDINGS:
        (bucket(spool) / (bucket(spool).name + new_capture_id()[8:] + ending)).mkdir()


def wrong_bucket(spool: Spool) -> None:
    """A capture in the bucket of another minute, and buckets with nothing in them."""
    folder = next(spool.pending())
    (spool.root / "pending/crash/00000000").mkdir()
    (spool.root / "pending/crash/fffffffd").mkdir()
    shutil.copytree(folder, spool.root / "pending/crash/00000000" / folder.name)


def half_removed(spool: Spool) -> None:
    """Folders that a killed process was about to remove, one with something in it that is no file."""
    gone = spool.root / "new" / f".gone-{new_capture_id()}"
    gone.mkdir()
    (gone / "folder").mkdir(mode=0o000)
    (spool.root / "new" / ".gone-x").mkdir()


def ledger_of_garbage(spool: Spool) -> None:
    """Lines that are no lines of ours, in the middle of it."""
    path = spool.root / "ledger.0"
    lines = [b"[]", b"1", b"null", b'"received"', b'{"received": 1}', b'{"stored": [1]}', b'{"dropped": null}', b"{}"]
    lines += [b'{"moved": {}}', b"[" * 5000, b'{"x": ' * 3000, b"\xff\xfe", b'{"received": "x", "stored": "x"}']
    path.write_bytes(path.read_bytes().rstrip(b"\0") + b"\n".join(lines) + b"\n")


def ledger_of_zeros(spool: Spool) -> None:
    """What a power cut makes of a file."""
    (spool.root / "ledger.0").write_bytes(bytes(64 * 1024))


def ledger_cut(spool: Spool) -> None:
    """A ledger that ends in the middle of a line."""
    os.truncate(spool.root / "ledger.0", 70)


def ledger_too_long(spool: Spool) -> None:
    """A ledger of megabytes, without an end."""
    (spool.root / "ledger.0").write_bytes(random.Random(1).randbytes(5 * MIB).replace(b"\0", b"\n"))


def totals(content: bytes) -> Callable[[Spool], None]:
    """Totals that are none."""

    def write(spool: Spool) -> None:
        (spool.root / "totals.json").write_bytes(content)

    return write


def usage_of_garbage(spool: Spool) -> None:
    """A number that is none."""
    (spool.root / "usage").write_bytes(b"\xff much\n" * 10)


ODD: dict[str, Callable[[Spool], None]] = {
    "files": files_for_folders,
    "links": links,
    "names": odd_names,
    "wrong bucket": wrong_bucket,
    "half removed": half_removed,
    "ledger garbage": ledger_of_garbage,
    "ledger zeros": ledger_of_zeros,
    "ledger cut": ledger_cut,
    "ledger long": ledger_too_long,
    "totals empty": totals(b""),
    "totals list": totals(b"[]"),
    "totals infinite": totals(b'{"generation": 0, "received": 1e999, "stored": 0, "dropped": {}}'),
    "totals deep": totals(b"[" * 100_000),
    "totals words": totals(b'{"generation": "a", "received": "b", "stored": null, "dropped": []}'),
    "usage garbage": usage_of_garbage,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_things_in_a_spool_are_left_alone(name: str, spool: Spool, store: LocalStore) -> None:
    """Every call goes on, what is whole is sent, and the second pass finds nothing to do."""
    ODD[name](spool)

    spool = Spool(spool.root, 64 * MIB, 0)  # as a new process has it
    assert spool.account().pending == 2
    assert len(list(spool.newest())) == len(list(spool.pending())) == 2
    assert spool.recover() == []
    put_capture(spool)
    drained = drain(spool, store, "default", deadline=None)
    again = drain(spool, store, "default", deadline=None)

    account = spool.account()
    assert (drained.stored, drained.trouble, again.stored, again.failed) == (3, None, 0, 0)
    assert (account.pending, account.quarantined) == (0, 0)
    assert account.stored >= 3
    assert account.received == account.stored + sum(account.dropped.values())


@pytest.mark.parametrize("name", ODD)
def test_odd_things_do_not_keep_a_full_spool_from_evicting(name: str, spool: Spool) -> None:
    """Eviction walks past them, and the quota holds for what is ours."""
    ODD[name](spool)
    tight = Spool(spool.root, MIB, 0)

    for _ in range(12):
        put_capture(tight, content=b"x" * 150_000)

    account = tight.account()
    assert account.dropped["quota"] >= 6
    assert account.pending == len(list(tight.pending())) > 2


@pytest.mark.parametrize("what", ["ledger.0", "lock", "usage", "totals.json", "pending", "new"])
def test_a_folder_in_place_of_a_file_refuses_and_says_where(spool: Spool, what: str) -> None:
    """Where the spool itself is broken each call either goes on or says so: never another error."""
    path = spool.root / what
    if path.is_dir():
        shutil.rmtree(path)
        path.write_bytes(b"")
    else:
        path.unlink(missing_ok=True)
        path.mkdir()

    calls: tuple[Callable[[], object], ...] = (
        spool.account,
        spool.recover,
        spool.unfinished,
        lambda: list(spool.pending()),
        lambda: list(spool.newest()),
        lambda: spool.stored(new_capture_id()),
        lambda: put_capture(spool),
    )
    outcomes = []
    for call in calls:
        try:
            outcomes.append(bool(call()))
        except SpoolUnwritable as error:
            assert str(spool.root) in str(error)
            outcomes.append(False)
    assert len(outcomes) == len(calls)


def _damages(content: bytes) -> list[bytes]:
    """The file cut, zeroed, with flipped bits, and with pieces of it in other places."""
    chance = random.Random(7)
    found = [content[:length] for length in range(0, len(content), 37)]
    found += [bytes(len(content)), content[:200] + bytes(len(content) - 200), content * 2, content[::-1]]
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 8))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        found.append(bytes(changed))
    for _ in range(50):
        cut, to = chance.randrange(len(content)), chance.randrange(len(content))
        found.append(content[:cut] + content[to:] + content[cut:to])
    return found


def _wrong_types(value: Any) -> list[Any]:
    """The value with each of its parts replaced by what does not belong there."""
    found: list[Any] = [None, True, -1, 1e300, "x", [], ["x"], [[]], {}, {"x": 1}, "\ud800", 10**400]
    if isinstance(value, dict):
        found += [{**value, key: other} for key, part in value.items() for other in _wrong_types(part)]
        found += [{name: part for name, part in value.items() if name != key} for key in value]
    if isinstance(value, list):
        found += [
            [*value[:at], other, *value[at + 1 :]] for at in range(len(value)) for other in _wrong_types(value[at])
        ]
    return found


def test_a_damaged_manifest_is_a_capture_or_corrupt(spool: Spool) -> None:
    """Whatever became of its bytes, a manifest is read as a whole capture or refused: nothing else is raised."""
    folder = next(spool.pending())
    manifest = (folder / "manifest.json").read_bytes()
    variants = _damages(manifest) + [json.dumps(one).encode() for one in _wrong_types(json.loads(manifest))]
    outcomes = []

    for variant in variants:
        (folder / "manifest.json").write_bytes(variant)
        try:
            outcomes.append(isinstance(Capture.from_json(spool.load(folder).to_json()), Capture))
        except CorruptCapture:
            outcomes.append(False)

    assert 10 < sum(outcomes) < len(outcomes) / 2


def test_damaged_captures_are_set_aside_once(spool: Spool, store: LocalStore) -> None:
    """Cut, zeroed, flipped, swapped: each goes to quarantine with its reason, and no pass meets it again."""
    captures = [put_capture(spool) for _ in range(6)]
    cut, zeroed, flipped, gone, *swapped = [folder_of(spool, capture) for capture in captures]
    os.truncate(cut / "manifest.json", 100)
    (zeroed / "report.json").write_bytes(bytes((zeroed / "report.json").stat().st_size))
    flipped.joinpath("report.json").write_bytes(b'{"header": {}|\n')
    shutil.rmtree(gone)
    gone.mkdir()
    manifests = [(folder / "manifest.json").read_bytes() for folder in swapped]
    for folder, manifest in zip(swapped, reversed(manifests), strict=True):
        (folder / "manifest.json").write_bytes(manifest)

    first = drain(spool, store, "default", deadline=None)
    second = drain(spool, store, "default", deadline=None)

    account = spool.account()
    assert (first.stored, first.quarantined, second.stored, second.quarantined) == (2, 6, 0, 0)
    assert (account.received, account.stored, account.quarantined) == (8, 2, 6)
    assert len(list(spool.root.glob("quarantine/*/*/.reason"))) == 6


def test_a_copy_of_a_stored_capture_does_not_block_the_queue(spool: Spool, store: LocalStore) -> None:
    """Somebody puts a folder back: it is sent again, which changes nothing, and goes."""
    folder = next(spool.pending())
    shutil.copytree(folder, spool.root.parent / "copy")
    drain(spool, store, "default", deadline=None)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(spool.root.parent / "copy", folder)

    drained = drain(spool, store, "default", deadline=None)

    assert drained.trouble is None
    assert spool.account().pending == 0


def test_captures_of_an_older_layout_are_found(spool: Spool, store: LocalStore) -> None:
    """A flat folder of an older diag is shelved by `recover`, whole or not, and sent or set aside like any other."""
    whole, damaged, aside = (put_capture(spool, make_capture("event")) for _ in range(3))
    for capture, state in ((whole, "pending"), (damaged, "pending"), (aside, "quarantine")):
        folder_of(spool, capture).rename(spool.root / state / capture.capture_id)
    (spool.root / "pending" / damaged.capture_id / "manifest.json").write_bytes(b"{")

    assert spool.unfinished()
    assert spool.recover() == []

    assert not spool.unfinished()
    assert (spool.account().pending, spool.account().quarantined) == (4, 1)
    assert spool.load(folder_of(spool, whole)) == whole
    assert drain(spool, store, "default", deadline=None).stored == 3
    assert spool.account().quarantined == 2


def test_folders_without_permission(home: Path, as_nobody: Callable[[Callable[[], None]], None]) -> None:
    """What its owner took the permissions of is set aside or skipped, and the rest is sent."""
    home.chmod(0o755)
    place = home / "place"  # not pytest's own folder, which the start of another pytest closes to other users
    place.mkdir()
    place.chmod(0o777)

    def look() -> None:
        spool = Spool(place / "spool", 64 * MIB, 0)
        captures = [put_capture(spool) for _ in range(4)]
        closed, unread = folder_of(spool, captures[0]), folder_of(spool, captures[1])
        closed.chmod(0o000)
        (unread / "report.json").chmod(0o000)
        draft = spool.begin(make_capture())
        draft.close()
        draft.folder.chmod(0o000)
        store = LocalStore((place / "store").as_uri())

        assert spool.recover() == []
        drained = drain(spool, store, "default", deadline=None)

        account = spool.account()
        assert (drained.stored, drained.quarantined, drained.trouble) == (2, 2, None)
        assert (account.received, account.stored, account.quarantined, account.dropped) == (5, 2, 2, {"empty": 1})

    as_nobody(look)


def test_a_capture_of_somebody_else_stops_nobody(home: Path, as_nobody: Callable[[Callable[[], None]], None]) -> None:
    """A folder that root left in a user's spool cannot be read or moved: the rest is sent, and the trouble is said."""
    home.chmod(0o755)
    place = home / "place"  # not pytest's own folder, which the start of another pytest closes to other users
    place.mkdir()
    place.chmod(0o777)
    spool = Spool(place / "spool", 64 * MIB, 0)
    captures: list[Capture] = [make_capture() for _ in range(3)]

    def write() -> None:
        for capture in captures:
            put_capture(spool, capture)

    as_nobody(write)
    foreign = folder_of(spool, captures[2])
    os.chown(foreign, 0, 0)

    def send() -> None:
        drained = drain(spool, LocalStore((place / "store").as_uri()), "default", deadline=None)
        assert (drained.stored, drained.failed, type(drained.trouble)) == (2, 1, SpoolUnwritable)
        assert spool.account().pending == 1

    as_nobody(send)


def test_no_command_fails_of_an_odd_spool(home: Path) -> None:
    """With all of this at once each command does its work, and none shows a traceback."""
    spool = Spool.of(config.load())
    kept = [put_capture(spool), put_capture(spool, make_capture("report"))]
    for name in ("files", "links", "names", "wrong bucket", "half removed", "ledger garbage", "usage garbage"):
        ODD[name](spool)
    damaged = put_capture(spool)
    (folder_of(spool, damaged) / "manifest.json").write_bytes(bytes(900))

    commands = (
        ("ls",),
        ("get", kept[0].capture_id, "-o", str(home / "out")),
        ("doctor",),
        ("ps",),
        ("flush",),
        ("flush",),
        ("ls", "--json"),
    )
    answers = [
        subprocess.run(
            [sys.executable, "-m", "diag", *command], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        for command in commands
    ]

    assert [answer.returncode for answer in answers] == [0] * len(answers), answers
    assert not any("Traceback" in answer.stderr for answer in answers)
    assert {row["capture_id"] for row in json.loads(answers[-1].stdout)} == {one.capture_id for one in kept}


@pytest.mark.parametrize("what", ["ledger.0", "totals.json", "usage", "agent", "told.json", "uploader.json"])
def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(spool: Spool, store: LocalStore, what: str) -> None:
    """A pipe is no file, and nobody writes into this one: each call goes on without it, or refuses."""
    path = spool.root / what
    path.unlink(missing_ok=True)
    os.mkfifo(path)

    calls: tuple[Callable[[], object], ...] = (
        lambda: put_capture(spool),
        spool.account,
        lambda: accounts.tell(spool, store, "default", last=True),
        lambda: accounts.last_told(spool),
        lambda: status.read(spool.root),
        lambda: drain(spool, store, "default", deadline=None),
    )
    for call in calls:
        with suppress(SpoolUnwritable):
            call()


@pytest.mark.parametrize("put", [lambda path, victim: path.symlink_to(victim), lambda path, victim: os.mkfifo(path)])
def test_usage_that_is_no_file_is_made_anew(put: Callable[[Path, Path], None], spool: Spool, tmp_path: Path) -> None:
    """What only saves time costs no capture, and no file elsewhere is changed."""
    victim = tmp_path / "victim"
    victim.write_text("somebody else's\n")
    (spool.root / "usage").unlink()
    put(spool.root / "usage", victim)

    put_capture(spool)

    assert (spool.root / "usage").lstat().st_size
    assert victim.read_text() == "somebody else's\n"


def test_a_ledger_that_is_a_link_is_not_written_through(spool: Spool, tmp_path: Path) -> None:
    """Whoever puts a link in the ledger's place makes the spool refuse, and changes no file elsewhere."""
    put_capture(spool)
    victim = tmp_path / "victim"
    victim.write_text("somebody else's\n")
    ledger = spool.root / "ledger.0"
    ledger.unlink()
    ledger.symlink_to(victim)

    with pytest.raises(SpoolUnwritable):
        put_capture(spool)

    assert victim.read_text() == "somebody else's\n"
