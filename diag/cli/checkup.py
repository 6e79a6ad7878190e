"""The checks of `diag doctor`: each says what works here or not, and what to do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Literal

from diag.agent import exits
from diag.cli.output import age
from diag.collectors import core_stacks, eu_stack, external, pyspy
from diag.collectors.cgroup import read_cgroup
from diag.collectors.permissions import file_system, permissions
from diag.config import Settings
from diag.errors import DiagError, ToolMissing
from diag.model import now, parse_stamp
from diag.spool import spools
from diag.upload import status
from diag.upload.clock import clock_sentence

MIB = 1024 * 1024
SOCKET_PATH_BYTES = 107  # unix(7)
SOCKET_NAME_BYTES = len("/000000000000/s")
BUILT_YEAR = 2024

Outcome = Literal["works", "limited", "broken"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor. `limited` is something that diag lives without; `broken` is something it needs."""

    name: str
    outcome: Outcome
    words: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """An entry of `checks` in `diag doctor --json`."""
        return {"name": self.name, "outcome": self.outcome, "what": self.words, "advice": self.advice}


def check_machine(settings: Settings) -> Iterator[Check]:
    """Everything that does not depend on an instance."""
    checks: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("stacks", check_stacks),
        ("native stacks", check_native_stacks),
        ("memray", check_memray),
        ("core stacks", check_core_stacks),
        ("permission", check_permission),
        ("/proc", check_proc),
        ("exit status", check_exits),
        ("cgroup", check_cgroup),
        ("run folder", lambda: check_run_folder(settings)),
        ("spool", lambda: check_spool(settings)),
        ("second spool", lambda: check_second_spool(settings)),
        ("captures", lambda: check_captures(settings)),
        ("store", lambda: check_store(settings)),
        ("uploader", lambda: check_uploader(settings)),
        ("clock", check_clock),
    )
    for name, check in checks:
        try:
            yield check()
        except DiagError as error:
            yield Check(name, "broken", str(error), error.help_text)
        except OSError as error:
            yield Check(name, "broken", str(error))


def check_stacks() -> Check:
    """py-spy: found, and it runs."""
    return Check("stacks", "works", f"py-spy {pyspy.version()} ({pyspy.find()})")


def check_native_stacks() -> Check:
    """eu-stack, for the frames of programs that are neither Python, Node nor Go."""
    try:
        return Check("native stacks", "works", f"eu-stack ({eu_stack.find()})")
    except ToolMissing as error:
        return Check(
            "native stacks", "limited", "`diag stacks --native` has no frames of native programs", error.help_text
        )


def check_memray() -> Check:
    """What reads memray's files is beside diag."""
    path = external.find("memray")
    if path is None:
        advice = "pip install memray, where diag is and where the program runs."
        return Check("memray", "limited", "not installed: `diag memory` counts objects instead", advice)
    return Check("memray", "works", f"reads what a program's memray writes ({path})")


def check_core_stacks() -> Check:
    """pystack, for the Python frames in a core file."""
    try:
        return Check("core stacks", "works", f"pystack {core_stacks.check_pystack()} reads Python in core files")
    except ToolMissing as error:
        return Check("core stacks", "limited", f"`diag report --core` has C frames only. {error}", error.help_text)


def check_permission() -> Check:
    """Whose processes may be read: by uid, capability and Yama."""
    mine = permissions()
    if mine.may_trace_all:
        return Check("permission", "works", "processes of every user can be read (CAP_SYS_PTRACE)")
    if mine.yama >= 3:
        return Check("permission", "broken", "nobody may read processes: kernel.yama.ptrace_scope is 3", _YAMA_3)
    if mine.yama:
        words = f"only processes below diag can be read: kernel.yama.ptrace_scope is {mine.yama}"
        return Check("permission", "limited", words, _YAMA)
    others = "for those of other users, run as root or add CAP_SYS_PTRACE"
    return Check("permission", "works", f"processes of uid {mine.uid} can be read; {others}")


_YAMA = (
    "`diag run` catches crashes all the same. For `diag report PID`: sysctl kernel.yama.ptrace_scope=0, or "
    "CAP_SYS_PTRACE (docker: --cap-add=SYS_PTRACE)."
)
_YAMA_3 = "It can only be lowered by a restart of the machine; see sysctl.d(5)."


def check_proc() -> Check:
    """/proc, and whether it hides other users' processes."""
    hidden = permissions().hidden_processes
    if hidden and not permissions().may_trace_all:
        advice = "mount -o remount,hidepid=0 /proc, or run as root."
        return Check("/proc", "limited", f"processes of other users are hidden (hidepid={hidden})", advice)
    return Check("/proc", "works", "readable, nothing is hidden")


def check_exits() -> Check:
    """Whether the kernel tells how a process that is not our child ended, tried on a child."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    pidfd = os.pidfd_open(pid)
    try:
        os.waitpid(pid, 0)
        told = exits.of_stranger(pid, pidfd).status == 7
    finally:
        os.close(pidfd)
    if told:
        return Check("exit status", "works", "of every process (pidfd exit records)")
    words = "of the instance and its orphans; of other workers only while they are zombies"
    return Check("exit status", "limited", words, "Linux 6.15 and later keep it for every process.")


def check_cgroup() -> Check:
    """Whether an out-of-memory kill can be proved by the kernel's counters."""
    found = read_cgroup(Path("/proc/self/cgroup").read_text())
    version, kills = found["version"], found.get("memory", {}).get("oomKills")
    if kills is None:
        words = f"version {version}; its memory counters cannot be read here, so an OOM kill cannot be proved"
        return Check("cgroup", "limited", words, "Mount /sys/fs/cgroup into the container, read-only.")
    return Check("cgroup", "works", f"version {version}, OOM kills are counted")


def check_run_folder(settings: Settings) -> Check:
    """Where agents keep sockets and black boxes: writable, in memory, and short enough for a socket."""
    folder = settings.run_dir
    _try_write(folder)
    if len(os.fsencode(folder)) + SOCKET_NAME_BYTES > SOCKET_PATH_BYTES:
        advice = "Point DIAG_RUN_DIR (or XDG_RUNTIME_DIR) at a folder with a shorter path."
        return Check("run folder", "broken", f"{folder} is too long for a socket in it", advice)
    kind = file_system(_existing(folder).resolve()) or "unknown"
    if kind in ("tmpfs", "ramfs"):
        return Check("run folder", "works", f"{folder} ({kind})")
    advice = "Point DIAG_RUN_DIR at a folder on tmpfs, such as /dev/shm/diag, to keep black boxes off the disk."
    return Check("run folder", "limited", f"{folder} is on a disk ({kind})", advice)


def check_spool(settings: Settings) -> Check:
    """Room for captures: writable, and above the floor of free space."""
    folder = settings.spool_dir
    _try_write(folder)
    free = _free_bytes(_existing(folder))
    floor, quota = settings.spool_floor_mb * MIB, settings.spool_quota_mb * MIB
    room = f"{free // MIB} MiB free, quota {settings.spool_quota_mb} MiB"
    if free <= floor:
        words = f"{folder}: {room}; nothing is kept below {settings.spool_floor_mb} MiB of free space"
        return Check(
            "spool", "broken", words, "Free some space, point DIAG_SPOOL elsewhere, or lower DIAG_SPOOL_FLOOR_MB."
        )
    if free - floor < quota:
        return Check("spool", "limited", f"{folder}: {room}; the disk is full before the quota is")
    return Check("spool", "works", f"{folder}: {room}")


def check_second_spool(settings: Settings) -> Check:
    """What the spool cannot take has another place to go to."""
    folder, quota_mb = settings.spool_second_dir, settings.spool_second_quota_mb
    advice = "Point DIAG_SPOOL_SECOND at a folder on another disk than DIAG_SPOOL."
    if quota_mb == 0 or folder == settings.spool_dir:
        return Check("second spool", "limited", "there is none: what the spool cannot take goes to stderr", advice)
    try:
        _try_write(folder)
    except (DiagError, OSError) as error:
        return Check("second spool", "limited", str(error), advice)
    free_mb = _free_bytes(_existing(folder)) // MIB
    words = f"{folder}: {free_mb} MiB free, quota {quota_mb} MiB"
    if free_mb < 2 * quota_mb:  # half of it stays free
        return Check("second spool", "limited", words, advice)
    return Check("second spool", "works", words)


def check_captures(settings: Settings) -> Check:
    """Where every capture of this machine's spools is, and what to do about those that are not in the store."""
    from diag.upload.accounts import LATE_S, last_told

    each = {spool: spool.account() for spool in spools(settings)}
    account = reduce(add, each.values())
    if not account.received:
        return Check("captures", "works", "none so far")
    waited_s = account.oldest_pending_s or 0.0
    lost = sum(account.dropped.values())
    waiting = f" (the oldest for {age(now() - timedelta(seconds=waited_s))})" if account.pending else ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in account.dropped.items())
    words = (
        f"{account.received} received: {account.stored} stored, {account.pending} pending{waiting}, "
        f"{account.quarantined} quarantined, {lost} dropped{f' ({reasons})' if reasons else ''}"
    )
    advice = []
    if waited_s > LATE_S:
        advice.append("`diag flush` sends what is pending, or says why it cannot.")
    if account.quarantined:
        folders = " or ".join(str(spool.root / "quarantine") for spool, one in each.items() if one.quarantined)
        advice.append(f"{folders} holds what was set aside; .reason in each says why.")
    refusals = filter(None, (last_told(spool).refused for spool in each))
    advice += [f"The store did not take this account: {refused}" for refused in refusals]
    if lost:
        advice.append("What is dropped is gone. Raise DIAG_SPOOL_QUOTA_MB or free some space to lose no more.")
    return Check("captures", "limited" if advice else "works", words, " ".join(advice))


def check_store(settings: Settings) -> Check:
    """The store answers and takes captures."""
    from diag.upload.stores import open_store

    store = open_store(settings.store_url, settings.token)
    store.check()
    if store.clock_ahead_s:
        return Check("store", "limited", f"{settings.store_url}; {clock_sentence(store.clock_ahead_s)}", _CLOCK)
    return Check("store", "works", settings.store_url)


_CLOCK = "Requests are signed by the store's clock. Set this machine's, and keep it set by NTP."


def check_uploader(settings: Settings) -> Check:
    """What the uploader in the background has noted: trouble, since when, and when it tries again."""
    told = status.read(status.place(spools(settings)))
    if told is None:
        return Check("uploader", "works", "no trouble noted")
    if not told.trouble:
        return Check("uploader", "limited", clock_sentence(told.clock_ahead_s), _CLOCK)
    since, following = parse_stamp(told.since), parse_stamp(told.next_try)
    words = f"{told.trouble} (for {age(since)}; next try at {following:%Y-%m-%d %H:%M:%S} UTC)"
    return Check("uploader", "limited", words, told.advice)


def check_clock() -> Check:
    """A clock that was never set puts every capture into a wrong hour of the store."""
    moment = now()
    if moment.year < BUILT_YEAR:
        return Check(
            "clock", "broken", f"it says {moment:%Y-%m-%d}", "Set the machine's clock, and keep it set by NTP."
        )
    return Check("clock", "works", f"{moment:%Y-%m-%d %H:%M:%S} UTC")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _try_write(folder: Path) -> None:
    """Raise what a write there would raise; the file has no name, and the folder is not made."""
    place = _existing(folder)
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise DiagError(f"{place} cannot be written: {error.strerror}", "See DIAG_SPOOL and DIAG_RUN_DIR.") from error


def _free_bytes(folder: Path) -> int:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def to_json(checks: list[Check]) -> dict[str, Any]:
    """The document of `diag doctor --json`."""
    return {"ok": all(check.outcome != "broken" for check in checks), "checks": [check.to_json() for check in checks]}
