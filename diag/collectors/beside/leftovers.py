"""Ends everything that a command has started: by its cgroup, by who descends from it, by a mark in the environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "DIAG_EXEC"
PREFIX = "diag-exec-"
CONTROLLERS = ("pids", "freezer", "")  # of version 1; whichever may be written
CLEAR_S = 10.0
LOOK_EVERY_S = 0.01


def descendants(ancestor: int) -> list[int]:
    """Everybody below this process, as /proc shows them; zombies have ended."""
    children: dict[int, list[int]] = {}
    for pid, parent, state in _everybody():
        if state != "Z":
            children.setdefault(parent, []).append(pid)
    found, queue = [], [ancestor]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _everybody() -> list[tuple[int, int, str]]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208  also runs where pathlib may import no more
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    words = os.read(descriptor, 4096).rpartition(b")")[2].split()
                finally:
                    os.close(descriptor)
                found.append((int(name), int(words[1]), words[0].decode("ascii", "replace")))
    return found


def kill_descendants(ancestor: int) -> int:
    """Kill everybody below this process until nobody is left; returns how many there were."""
    killed: set[int] = set()
    until = time.monotonic() + CLEAR_S
    while (found := descendants(ancestor)) and time.monotonic() < until:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed.update(found)
        time.sleep(LOOK_EVERY_S)
    return len(killed)


def kill_marked(mark: str) -> int:
    """Kill whoever was started with this mark in the environment; returns how many."""
    wanted, killed = f"{MARK}={mark}".encode(), 0
    for pid, _, state in _everybody():
        with contextlib.suppress(OSError):
            if state != "Z" and pid != os.getpid() and wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


class Cgroup:
    """A cgroup for one command, below our own, without limits: who is in it cannot leave, whatever it forks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, owner: str) -> Cgroup | None:
        """One named for its owner (pid and start ticks); None where this user may make none."""
        for parent in _own_folders():
            folder = parent / f"{PREFIX}{owner}"
            try:
                folder.mkdir()
            except OSError:
                continue
            if os.access(folder / "cgroup.procs", os.W_OK):
                return cls(folder)
            folder.rmdir()
        return None

    def enter(self) -> None:
        """Put the calling process into it. Raises OSError."""
        (self.folder / "cgroup.procs").write_text("0")

    def pids(self) -> list[int]:
        """Who is in it; 0 is one that has no pid here."""
        with contextlib.suppress(OSError):
            return [int(line) for line in (self.folder / "cgroup.procs").read_text().split()]
        return []

    def kill(self) -> int:
        """Kill all in it, and remove it; returns how many there were."""
        killed: set[int] = set()
        until = time.monotonic() + CLEAR_S
        while (pids := [pid for pid in self.pids() if pid]) and time.monotonic() < until:
            killed.update(pids)
            with contextlib.suppress(OSError):
                (self.folder / "cgroup.kill").write_text("1")
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK_EVERY_S)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return len(killed)


def sweep() -> None:
    """End what is left in the cgroups of stewards that are gone."""
    for parent in _own_folders():
        for folder in parent.glob(f"{PREFIX}*"):
            pid, _, ticks = folder.name.removeprefix(PREFIX).partition("-")
            if _ticks(pid) != ticks:
                Cgroup(folder).kill()


def owner() -> str:
    """This process, as a cgroup's name says it."""
    return f"{os.getpid()}-{_ticks('self')}"


def _ticks(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return ""


def _own_folders() -> list[Path]:
    """Our own cgroup in the hierarchies where one may be made below it, version 2 first."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path.lstrip("/")))
    top = Path("/sys/fs/cgroup")
    unified = top if (top / "cgroup.controllers").exists() else top / "unified"
    folders = [unified / own[""]] if "" in own else []
    folders += [top / name / own[name] for name in CONTROLLERS if name and name in own]
    return [folder for folder in folders if (folder / "cgroup.procs").exists()]
