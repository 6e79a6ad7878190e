"""The spool on real disks: whole or nothing, counted, within its quota, whoever is killed and whatever fills up."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from killing import run_and_kill, spawn
from machine import TIMEOUT_S, missing
from moments import next_moment
from spooled import MIB, make_capture, put_capture

from diag.errors import CorruptCapture, DiagError, NoSuchCapture, SpoolUnwritable
from diag.model import Capture, new_capture_id, now
from diag.spool import Account, Spool, files, id_of, ledger, queue, room
from diag.spool.files import BLOCK
from diag.spool.states import STATES
from diag.spool.usage import Usage

QUOTA = 64 * MIB


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in a folder of its own, with no floor."""
    return Spool(tmp_path / "spool", QUOTA, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with _mounted(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(folder)], folder):
        yield folder


@contextmanager
def _mounted(command: list[str], folder: Path) -> Iterator[None]:
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        missing("Mounting a file system needs root.")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def balanced(account: Account) -> bool:
    """Whether every received capture is somewhere."""
    return account.received == account.stored + account.pending + account.quarantined + sum(account.dropped.values())


def counts(spool: Spool) -> Account:
    """The account without the age, which goes on."""
    return replace(spool.account(), oldest_pending_s=None)


def states(spool: Spool) -> dict[str, list[str]]:
    """The ids in each state."""
    depth = {"new": "*", "pending": "*/*/*", "completed": "*", "quarantine": "*/*"}
    return {state: sorted(id_of(path) for path in (spool.root / state).glob(depth[state])) for state in STATES}


def waiting(spool: Spool) -> list[Path]:
    """The folders of what waits, in the order in which they are sent."""
    return list(spool.pending())


def test_a_committed_capture_is_whole_and_waits(spool: Spool) -> None:
    """What was committed can be loaded, byte for byte, with its artifacts in the manifest."""
    capture = make_capture()

    with spool.begin(capture) as draft:
        draft.add("report.json", "report", "json", "application/json", b"{}")
        source = spool.root.parent / "cpu.pb.gz"
        source.write_bytes(b"x" * 3_000_000)
        draft.add("cpu.pb.gz", "profile", "pprof", "application/gzip", source)
        folder = draft.commit(capture)

    loaded = spool.load(folder)
    assert [folder] == waiting(spool)
    assert id_of(folder) == capture.capture_id
    assert replace(loaded, artifacts=()) == capture
    assert [(one.name, one.size_bytes) for one in loaded.artifacts] == [("report.json", 2), ("cpu.pb.gz", 3_000_000)]
    assert (folder / "cpu.pb.gz").read_bytes() == source.read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["cpu.pb.gz", "manifest.json", "report.json"]
    assert counts(spool) == Account(received=1, pending=1)


def test_a_file_that_a_collector_wrote_in_place_is_adopted(spool: Spool) -> None:
    """A big file written straight into the draft is not copied."""
    capture = make_capture("packets")
    with spool.begin(capture) as draft:
        (draft.folder / "p.pcap").write_bytes(b"\xd4\xc3\xb2\xa1" * 1000)
        node = (draft.folder / "p.pcap").stat().st_ino
        draft.add("p.pcap", "packets", "pcap", "application/vnd.tcpdump.pcap", draft.folder / "p.pcap")
        folder = draft.commit(capture)

    assert (folder / "p.pcap").stat().st_ino == node
    assert spool.load(folder).artifacts[0].size_bytes == 4000


def test_files_and_folders_are_private(spool: Spool) -> None:
    """Folders are 0700 and files 0600, in every state."""
    for capture in (put_capture(spool) for _ in range(3)):
        last = capture
    spool.stored(last.capture_id)
    spool.quarantine(id_of(waiting(spool)[0]), "because")
    spool.begin(make_capture())

    found = [spool.root, *spool.root.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o600}


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "manifest.json", "..", "a..b", "x" * 300, "a\0b"])
def test_a_name_that_is_a_path_is_refused(spool: Spool, name: str) -> None:
    """Names are data: none leads out of the capture's folder or stands in for its manifest."""
    with spool.begin(make_capture()) as draft:
        with pytest.raises(DiagError, match="cannot be the name"):
            draft.add(name, "report", "json", "application/json", b"{}")


def test_one_event_has_one_record(spool: Spool) -> None:
    """An id that is being written, waits, or was settled cannot begin again."""
    capture = make_capture()
    with spool.begin(capture), pytest.raises(DiagError, match="somebody else"):
        spool.begin(capture)
    kept = put_capture(spool)
    settled = put_capture(spool)
    spool.drop(settled.capture_id, "test")

    for known in (kept, settled):
        with pytest.raises(DiagError, match="recorded already"):
            spool.begin(known)
    assert spool.account().received == 3


def test_leaving_a_draft_without_commit_counts_a_loss(spool: Spool) -> None:
    """A writer that fails leaves nothing on the disk, and the loss has a reason."""
    with pytest.raises(ZeroDivisionError), spool.begin(make_capture()) as draft:
        draft.add("report.json", "report", "json", "application/json", b"{}")
        raise ZeroDivisionError
    spool.begin(make_capture()).abandon("too late")

    assert spool.account() == Account(received=2, dropped={"abandoned": 1, "too late": 1})
    assert list((spool.root / "new").iterdir()) == []


def test_small_crashes_overtake_big_profiles(spool: Spool) -> None:
    """Crashes go before reports and profiles, small before big."""
    old, new = now() - timedelta(hours=1), now()
    profile = put_capture(spool, make_capture("profile", old), b"p" * 10)
    report = put_capture(spool, make_capture("report", old), b"r" * 10)
    big = put_capture(spool, make_capture("crash", old), b"c" * 2_000_000)
    late = put_capture(spool, make_capture("crash", new), b"c" * 1000)
    early = put_capture(spool, make_capture("crash", old + timedelta(minutes=1)), b"c" * 1100)

    order = [id_of(folder) for folder in spool.pending()]

    assert order == [one.capture_id for one in (late, early, big, report, profile)]


def test_a_stored_capture_keeps_its_manifest_for_a_while(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the upload only manifests stay, the newest of them, and the count outlives them."""
    monkeypatch.setattr(queue, "COMPLETED_KEPT", 2)
    captures = [put_capture(spool) for _ in range(4)]
    for capture in captures:
        spool.stored(capture.capture_id)
        spool.stored(capture.capture_id)

    assert states(spool)["completed"] == sorted(one.capture_id for one in captures[2:])
    assert [path.name for path in (spool.root / "completed" / captures[3].capture_id).iterdir()] == ["manifest.json"]
    assert spool.account() == Account(received=4, stored=4)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "report.json").write_bytes(b'{"header": []}\n'),
        lambda folder: (folder / "report.json").write_bytes(b""),
        lambda folder: (folder / "report.json").unlink(),
        lambda folder: ((folder / "report.json").unlink(), (folder / "report.json").symlink_to("/etc/passwd")),
        lambda folder: ((folder / "report.json").unlink(), os.mkfifo(folder / "report.json")),
        lambda folder: (folder / "manifest.json").write_bytes(b""),
        lambda folder: (folder / "manifest.json").write_bytes(b"[]"),
        lambda folder: (folder / "manifest.json").write_bytes(b'{"artifacts": [' * 20_000),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text(
            (folder / "manifest.json").read_text().replace("report.json", "../../../x")
        ),
    ],
    ids=["bytes", "empty", "gone", "link", "pipe", "no json", "no object", "deep", "no manifest", "path"],
)
def test_a_damaged_capture_is_recognised_and_set_aside(spool: Spool, damage: Callable[[Path], object]) -> None:
    """What does not match its manifest is never sent; it goes to quarantine with the reason, and is counted there."""
    put_capture(spool)
    damage(waiting(spool)[0])

    (folder,) = spool.pending()
    with pytest.raises(CorruptCapture) as caught:
        spool.load(folder)
    spool.quarantine(id_of(folder), str(caught.value))

    assert spool.account() == Account(received=1, quarantined=1)
    assert next(spool.root.glob("quarantine/*/*/.reason")).read_text().strip() == str(caught.value)


def test_a_capture_that_went_meanwhile_is_not_damaged(spool: Spool) -> None:
    """Another process may have stored it between the look and the load."""
    put_capture(spool)
    (folder,) = spool.pending()
    spool.stored(id_of(folder))

    with pytest.raises(NoSuchCapture):
        spool.load(folder)


def used(spool: Spool) -> int:
    """The bytes in the spool's files."""
    return sum(path.stat().st_size for path in spool.root.rglob("*") if path.is_file())


def test_the_quota_holds_and_losses_are_counted(tmp_path: Path) -> None:
    """However much comes, the spool stays within its quota and every eviction is counted."""
    for _ in range(40):
        spool = Spool(tmp_path / "spool", MIB, 0)  # as a new process has it
        put_capture(spool, content=b"x" * 50_000)
        assert used(spool) <= MIB

    account = spool.account()
    assert balanced(account)
    assert account.received == 40
    assert account.dropped == {"quota": 40 - account.pending}
    assert account.pending >= 10


def test_what_is_wanted_least_goes_first(tmp_path: Path) -> None:
    """Completed ones go before profiles, profiles before crashes, and crashes never for a profile."""
    spool = Spool(tmp_path / "spool", 2 * MIB, 0)
    spool.stored(put_capture(spool).capture_id)
    crash = put_capture(spool, make_capture(), b"x" * 400_000)
    profile = put_capture(spool, make_capture("profile"), b"x" * 800_000)
    second = put_capture(spool, make_capture(), b"x" * 900_000)

    assert states(spool)["completed"] == []
    assert states(spool)["pending"] == sorted([crash.capture_id, second.capture_id])
    with spool.begin(make_capture("profile")) as draft, pytest.raises(SpoolUnwritable, match="quota is 2 MB"):
        draft.add("cpu.pb.gz", "profile", "pprof", "application/gzip", b"x" * 800_000)
    assert states(spool)["pending"] == sorted([crash.capture_id, second.capture_id])
    assert spool.account().dropped == {"quota": 2}
    assert profile.capture_id not in str(waiting(spool))


def test_first_and_last_of_a_fingerprint_outlive_the_repeats(tmp_path: Path) -> None:
    """In a crash loop the repeats go; the first and the newest stay whole, and so does what crashed once."""
    spool = Spool(tmp_path / "spool", MIB, 0)
    once = put_capture(spool, make_capture(fingerprint="rare"), b"x" * 50_000)
    loop = [put_capture(spool, make_capture(fingerprint="loop"), b"x" * 50_000) for _ in range(30)]

    left = states(spool)["pending"]

    assert once.capture_id in left
    assert loop[0].capture_id in left
    assert loop[-1].capture_id in left
    assert len(left) < 25


def test_a_capture_that_never_fits_evicts_nothing(tmp_path: Path) -> None:
    """Nothing is thrown away for something that is refused in the end."""
    spool = Spool(tmp_path / "spool", MIB, 0)
    kept = [put_capture(spool, make_capture("profile"), b"x" * 50_000).capture_id for _ in range(5)]

    with pytest.raises(SpoolUnwritable), spool.begin(make_capture()) as draft:
        draft.add("report.json", "report", "json", "application/json", b"x" * 2 * MIB)

    assert states(spool)["pending"] == kept
    assert counts(spool) == Account(received=6, pending=5, dropped={"quota": 1})


def test_the_floor_of_free_space_is_left_alone(small_disk: Path) -> None:
    """With too little free on the disk a capture is refused, with the numbers, and counted."""
    spool = Spool(small_disk / "spool", QUOTA, 3 * MIB)
    put_capture(spool)
    (small_disk / "others").write_bytes(b"x" * MIB)

    with pytest.raises(SpoolUnwritable, match="3 MB are to stay free"):
        put_capture(spool)

    assert spool.account().dropped == {"disk full": 1}
    assert spool.account().pending == 1


@pytest.mark.parametrize("checked", [True, False], ids=["seen before", "full meanwhile"])
@pytest.mark.parametrize("left", [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 26, 40])
def test_a_full_disk_leaves_nothing_torn(
    small_disk: Path, left: int, checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the disk ends, the capture is whole or refused and counted, and the one before is untouched."""
    spool = Spool(small_disk / "spool", QUOTA, 0)
    put_capture(spool)
    _fill(small_disk, left * BLOCK)
    if not checked:  # others fill the disk between our look and our write
        monkeypatch.setattr(room, "_free", lambda root: QUOTA)

    if left == 40:
        put_capture(spool, content=b"x" * 100_000)
    else:
        with pytest.raises(SpoolUnwritable, match=str(small_disk)) as caught:
            put_capture(spool, content=b"x" * 100_000)
        assert checked or getattr(caught.value.__cause__, "errno", 0) == errno.ENOSPC

    lost = {} if left == 40 else {"disk full": 1}
    assert counts(spool) == Account(received=2, pending=2 - len(lost), dropped=lost)
    assert [spool.load(folder).kind for folder in spool.pending()] == ["crash"] * (2 - len(lost))
    assert list((spool.root / "new").iterdir()) == []
    _drain_when_full(spool)


def _drain_when_full(spool: Spool) -> None:
    for folder in spool.pending():
        spool.stored(id_of(folder))
    assert spool.account().pending == 0
    assert balanced(spool.account())


def _fill(disk: Path, leave: int) -> None:
    """Fill the disk until exactly so many bytes are free."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - leave)


def test_no_inodes_left_is_refused_and_counted(small_disk: Path) -> None:
    """A disk without inodes is as full as one without blocks."""
    spool = Spool(small_disk / "spool", QUOTA, 0)
    put_capture(spool)
    subprocess.run(["mount", "-o", "remount,nr_inodes=30", str(small_disk)], check=True)
    for number in range(os.statvfs(small_disk).f_ffree):
        (small_disk / f"file{number}").touch()

    with pytest.raises(SpoolUnwritable, match="No space left"):
        put_capture(spool)

    assert spool.account().dropped == {"disk full": 1}
    assert balanced(spool.account())


def test_a_read_only_spool_refuses_and_still_reads(spool: Spool, tmp_path: Path) -> None:
    """On a read-only disk each writing call says so with the path; what is there can still be read and counted."""
    capture = put_capture(spool)
    view = tmp_path / "view"
    view.mkdir()
    frozen = Spool(view, QUOTA, 0)
    attempts = (
        lambda: frozen.begin(make_capture()),
        lambda: frozen.stored(capture.capture_id),
        lambda: frozen.drop(capture.capture_id, "test"),
        lambda: frozen.quarantine(capture.capture_id, "test"),
    )
    with _mounted(["mount", "--bind", str(spool.root), str(view)], view):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(view)], check=True)
        for attempt in attempts:
            with pytest.raises(SpoolUnwritable, match=f"cannot write {view}.*Read-only file system"):
                attempt()
        assert frozen.recover() == []
        assert frozen.load(waiting(frozen)[0]) == capture
        assert frozen.account().pending == 1

    assert counts(spool) == Account(received=1, pending=1)


@pytest.mark.parametrize("root", ["/proc/diag-spool", "/dev/null/spool", "/tmp/" + "x" * 300])
def test_a_place_where_no_spool_can_be_is_refused(root: str) -> None:
    """Any place that cannot be written gives the same kind of error."""
    with pytest.raises(SpoolUnwritable, match=root):
        Spool(Path(root), QUOTA, 0).begin(make_capture())


def test_reading_a_spool_that_does_not_exist_makes_nothing(spool: Spool) -> None:
    """Looking leaves no trace."""
    assert spool.account() == Account()
    assert waiting(spool) == []
    assert spool.recover() == []
    assert not spool.root.exists()


# --- killed at every step -------------------------------------------------------------------------------------------


def _at_every_step(
    tmp_path: Path, prepare: Callable[[Spool], object], act: Callable[[Spool], object]
) -> Iterator[Spool]:
    """A recovered spool for each step at which the acting process can be killed; the last one ran to its end."""
    for step in range(400):
        spool = Spool(tmp_path / f"spool{step}", QUOTA, 0)
        prepare(spool)
        done = run_and_kill(step, lambda spool=spool: act(spool))  # type: ignore[misc]
        before = spool.account()
        assert balanced(before)
        assert used(spool) <= (Usage(spool.root / "usage").read().at_most or QUOTA)
        spool.recover()
        yield spool
        assert balanced(spool.account())
        assert spool.account().received == before.received
        assert all(spool.load(folder) for folder in spool.pending())
        assert list((spool.root / "new").glob("*")) == []
        again = Spool(spool.root, QUOTA, 0)
        put_capture(again)
        assert again.account().received == before.received + 1
        if done:
            assert step > 5
            return
    pytest.fail("it never came to its end")


def test_killed_while_writing_it_is_whole_or_counted(tmp_path: Path) -> None:
    """Killed at any step of writing, a capture is pending and whole, pending and marked incomplete, or counted lost."""
    capture = make_capture()

    def act(spool: Spool) -> None:
        with spool.begin(capture) as draft:
            draft.add("report.json", "report", "json", "application/json", b"{}")
            draft.add("maps.txt", "maps", "text", "text/plain", b"x" * 100_000)
            draft.commit(capture)

    outcomes = []
    for spool in _at_every_step(tmp_path, lambda spool: None, act):
        account = spool.account()
        assert account.received <= 1
        pending = [spool.load(folder) for folder in spool.pending()]
        marked = bool(pending and pending[0].incomplete)
        names = [one.name for one in pending[0].artifacts] if pending else []
        outcomes.append((account.received, marked, *names, *account.dropped))
        assert all(replace(one, artifacts=(), incomplete=()) == capture for one in pending)
        assert all(artifact.kind in ("report", "maps") for one in pending for artifact in one.artifacts)

    assert list(dict.fromkeys(outcomes)) == [
        (0, False),
        (1, False, "lost"),
        (1, False, "empty"),
        (1, True, "report.json"),
        (1, True, "maps.txt", "report.json"),
        (1, False, "report.json", "maps.txt"),
    ]


def _nothing(spool: Spool) -> None:
    return None


def _one(spool: Spool) -> None:
    put_capture(spool)


def _two(spool: Spool) -> None:
    put_capture(spool)
    put_capture(spool, make_capture("profile"), b"x" * 30_000)


def _store_first(spool: Spool) -> None:
    spool.stored(id_of(waiting(spool)[0]))


def _drop_first(spool: Spool) -> None:
    spool.drop(id_of(waiting(spool)[0]), "test")


def _quarantine_first(spool: Spool) -> None:
    spool.quarantine(id_of(waiting(spool)[0]), "test")


def _abandon(spool: Spool) -> None:
    with spool.begin(make_capture()) as draft:
        draft.add("report.json", "report", "json", "application/json", b"{}")


def _evict(spool: Spool) -> None:
    tight = Spool(spool.root, ledger.SIZE * 2 + 25 * BLOCK, 0)
    put_capture(tight, content=b"x" * 12 * BLOCK)


def _fold(spool: Spool) -> None:
    ledger.FOLD_AT = 1
    spool.stored(id_of(waiting(spool)[0]))


def _orphan(spool: Spool) -> None:
    def write_and_die() -> None:
        spool.begin(make_capture()).add("report.json", "report", "json", "application/json", b"{}")
        os.kill(os.getpid(), signal.SIGKILL)

    assert not run_and_kill(400, write_and_die)
    assert len(list((spool.root / "new").iterdir())) == 1


@pytest.mark.parametrize(
    ("prepare", "act", "ends"),
    [
        (_two, _store_first, Account(received=2, stored=1, pending=1)),
        (_two, _drop_first, Account(received=2, pending=1, dropped={"test": 1})),
        (_two, _quarantine_first, Account(received=2, pending=1, quarantined=1)),
        (_one, _abandon, Account(received=2, pending=1, dropped={"abandoned": 1})),
        (_two, _evict, Account(received=3, pending=2, dropped={"quota": 1})),
        (_two, _fold, Account(received=2, stored=1, pending=1)),
        (_orphan, Spool.recover, Account(received=1, pending=1)),
    ],
    ids=["stored", "drop", "quarantine", "abandon", "evict", "fold", "recover"],
)
def test_killed_at_any_step_every_capture_is_counted_once(
    tmp_path: Path, prepare: Callable[[Spool], None], act: Callable[[Spool], object], ends: Account
) -> None:
    """Killed at any step of any change, the books balance, nothing committed is lost or counted twice."""
    prepared = Spool(tmp_path / "prepared", QUOTA, 0)
    prepare(prepared)
    before = prepared.account()

    for spool in _at_every_step(tmp_path, prepare, act):
        account = counts(spool)
        lost = sum(account.dropped.values())
        assert before.received <= account.received <= ends.received
        assert account.stored <= ends.stored
        assert account.quarantined <= ends.quarantined
        assert lost <= 1 + sum(ends.dropped.values())

    assert account == ends


def test_a_living_writer_is_left_alone(spool: Spool) -> None:
    """Recovery takes only what nobody writes any more."""
    draft = spool.begin(make_capture())

    assert spool.recover() == []
    draft.add("report.json", "report", "json", "application/json", b"{}")
    assert spool.account().pending == 1
    draft.close()

    assert spool.recover() == [draft.capture_id]


def test_an_orphan_nobody_can_name_is_set_aside(spool: Spool) -> None:
    """Files whose draft was damaged are kept for a person, not thrown away and not sent."""
    draft = spool.begin(make_capture())
    draft.add("report.json", "report", "json", "application/json", b"{}")
    (draft.folder / ".draft.jsonl").write_bytes(b"\0\0\0")
    draft.close()

    assert spool.recover() == []
    assert spool.account() == Account(received=1, quarantined=1)


def test_what_a_collector_had_not_handed_over_is_kept_as_partial(spool: Spool) -> None:
    """A long recording of a killed agent is worth more than nothing."""
    draft = spool.begin(make_capture("packets"))
    (draft.folder / "p.pcap").write_bytes(b"x" * 100)
    draft.close()

    assert spool.recover() == [draft.capture_id]
    (artifact,) = spool.load(waiting(spool)[0]).artifacts
    assert (artifact.name, artifact.kind, artifact.format) == ("p.pcap", "partial", "pcap")


def test_folders_that_somebody_removed_are_counted_as_lost(spool: Spool) -> None:
    """The books show what disappeared behind our back."""
    put_capture(spool)
    put_capture(spool)
    for folder in spool.pending():
        shutil.rmtree(folder)

    assert spool.account() == Account(received=2, dropped={"lost": 2})


def test_many_processes_share_one_spool(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers, an uploader and a recovery at the same time: everything is counted once."""
    monkeypatch.setattr(files, "LOCK_LIMIT_S", 2.0 * TIMEOUT_S)  # a disk may be slow

    def write() -> None:
        for _ in range(20):
            put_capture(spool)

    def settle() -> None:
        for _ in range(20):
            spool.recover()
            for folder in waiting(spool)[:2]:
                spool.stored(id_of(folder))

    children = [spawn(write), spawn(write), spawn(settle), spawn(settle)]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0

    account = spool.account()
    assert balanced(account)
    assert account.received == 40
    assert account.stored + account.pending == 40
    assert all(spool.load(folder) for folder in spool.pending())


def test_an_old_clock_does_not_make_a_negative_age(spool: Spool) -> None:
    """A capture from a clock that was ahead waits zero seconds, not minus a year."""
    put_capture(spool, make_capture(moment=now() + timedelta(days=365)))

    assert spool.account().oldest_pending_s == 0.0


def test_a_manifest_is_json_that_others_read(spool: Spool) -> None:
    """The manifest has the published keys, also with text that is not Unicode."""
    put_capture(spool, make_capture(title="caf\udce9 ☕"))

    manifest = json.loads((waiting(spool)[0] / "manifest.json").read_bytes())

    assert manifest["schema"] == "diag.capture/1"
    assert manifest["title"] == "caf\udce9 ☕"
    assert isinstance(Capture.from_json(manifest), Capture)
    assert new_capture_id(next_moment()) > manifest["capture_id"]
