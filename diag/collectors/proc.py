"""One look at a process through /proc: no stop, no signal, nothing of the process is run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from diag.collectors.cgroup import read_cgroup
from diag.collectors.procfs import (
    ProcFolder,
    gone,
    kib,
    parse_environment,
    parse_limits,
    parse_maps,
    parse_pairs,
    parse_stat,
    parse_status,
    parse_task,
    split_command,
)
from diag.errors import CannotAttach, NoSuchInstance
from diag.evidence import ProcessFacts, Task
from diag.model import Missing

T = TypeVar("T")
_TaskRead = tuple[Task, int, int]  # with its voluntary and involuntary context switches

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICK_HZ = os.sysconf("SC_CLK_TCK")
TASKS_READ = 512
MEMORY_LINES = {"rss": "VmRSS", "peak_rss": "VmHWM", "virtual": "VmSize", "swap": "VmSwap", "data": "VmData"}


@dataclass
class _Look:
    """Reads piece by piece; what cannot be read is noted and replaced by a default."""

    folder: ProcFolder
    missing: list[Missing] = field(default_factory=list)

    def take(self, section: str, read: Callable[[], T], default: T) -> T:
        try:
            return read()
        except OSError as error:
            self.missing.append(Missing(section, _why(error)))
        except (ValueError, IndexError) as error:
            self.missing.append(Missing(section, f"/proc has a form that is not known here: {error}"))
        return default


def read_process(pid: int) -> tuple[ProcessFacts, tuple[Missing, ...]]:
    """What /proc says of the process, and what it does not say to this user.

    Raises NoSuchInstance where the process is not there, or goes away while it is read.
    """
    with ProcFolder(pid) as folder:
        try:
            name, fields = parse_stat(folder.read("stat"))
            look = _Look(folder)
            facts = _facts(look, name, fields)
            if look.missing:  # because the process went away?
                folder.read("stat")
        except (FileNotFoundError, ProcessLookupError):
            raise gone(pid) from None
    return facts, tuple(look.missing)


def with_last_figures(facts: ProcessFacts, ticks: int) -> ProcessFacts:
    """The facts with what the kernel still says of a zombie: CPU time, page faults and limits; unchanged without it."""
    try:
        with ProcFolder(facts.pid) as folder:
            _, fields = parse_stat(folder.read("stat"))
            limits = parse_limits(folder.text("limits"))
    except (NoSuchInstance, OSError, ValueError):
        return facts
    if int(fields[19]) != ticks:
        return facts  # another process has its pid by now
    return replace(
        facts,
        cpu_user_s=int(fields[11]) / TICK_HZ,
        cpu_system_s=int(fields[12]) / TICK_HZ,
        page_faults_minor=int(fields[7]),
        page_faults_major=int(fields[9]),
        limits=limits or facts.limits,
    )


def _facts(look: _Look, name: str, fields: list[str]) -> ProcessFacts:
    folder = look.folder
    status: dict[str, str] = look.take("resourceUsage", lambda: parse_status(folder.text("status")), {})
    io: dict[str, int] = look.take("resourceUsage", lambda: parse_pairs(folder.text("io"), ":"), {})
    tasks: list[_TaskRead] = look.take("threads", lambda: _tasks(look), [])
    return ProcessFacts(
        pid=folder.pid,
        parent_pid=int(fields[1]),
        start_time=start_time(int(fields[19])),
        command=look.take("header.commandLine", lambda: split_command(folder.read("cmdline")), ()),
        name=name,
        working_directory=look.take("header.cwd", lambda: folder.link("cwd"), None),
        executable=look.take("header.executable", lambda: folder.link("exe"), None),
        root=look.take("sharedObjects", lambda: _root(folder), f"/proc/{folder.pid}/root"),
        uid=_uid(status),
        memory={key: size for key, line in MEMORY_LINES.items() if (size := kib(status, line)) is not None},
        cpu_user_s=int(fields[11]) / TICK_HZ,
        cpu_system_s=int(fields[12]) / TICK_HZ,
        page_faults_minor=int(fields[7]),
        page_faults_major=int(fields[9]),
        read_bytes=io.get("read_bytes"),
        write_bytes=io.get("write_bytes"),
        context_switches_voluntary=sum(task[1] for task in tasks) if tasks else None,
        context_switches_involuntary=sum(task[2] for task in tasks) if tasks else None,
        open_files=look.take("resourceUsage.openFiles", lambda: len(folder.names("fd")), None),
        limits=look.take("userLimits", lambda: parse_limits(folder.text("limits")), {}),
        cgroup=look.take("cgroup", lambda: read_cgroup(folder.text("cgroup")), {}),
        environment=look.take("environmentVariables", lambda: parse_environment(folder.read("environ")), {}),
        maps=look.take("sharedObjects", lambda: parse_maps(folder.text("maps")), ()),
        tasks=tuple(task[0] for task in tasks),
    )


def environment_of(pid: int) -> dict[str, str]:
    """The environment it was started with, whose secrets it may show anywhere; empty where it cannot be read.

    Raises NoSuchInstance.
    """
    with ProcFolder(pid) as folder:
        try:
            return parse_environment(folder.read("environ"))
        except OSError:
            return {}


def _tasks(look: _Look) -> list[_TaskRead]:
    thread_ids = sorted(int(name) for name in look.folder.names("task"))
    if len(thread_ids) > TASKS_READ:
        look.missing.append(Missing("threads", f"/proc was read for {TASKS_READ} of {len(thread_ids)} threads"))
    found = []
    for thread_id in thread_ids[:TASKS_READ]:
        try:
            found.append(_task(look.folder, thread_id))
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that ended since the listing
    return found


def _task(folder: ProcFolder, thread_id: int) -> _TaskRead:
    name, state, voluntary, involuntary = parse_task(folder.small(f"task/{thread_id}/status"))
    channel = folder.small(f"task/{thread_id}/wchan").decode("ascii", "replace")
    # "0" stands for a running thread, and for one that this user may not look at.
    return Task(thread_id, name, state, None if channel in ("", "0") else channel), voluntary, involuntary


def _uid(status: dict[str, str]) -> int | None:
    words = status.get("Uid", "").split()
    return int(words[0]) if words else None


def _root(folder: ProcFolder) -> str:
    # Another mount namespace can show the same root inode with other mounts below it, so both must match.
    own = ProcFolder(os.getpid())
    with own:
        same = all(folder.identity(name) == own.identity(name) for name in ("root", "ns/mnt"))
    return "/" if same else f"/proc/{folder.pid}/root"


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "this user may not read it (run as the same user, or with CAP_SYS_PTRACE)"
    if isinstance(error, (FileNotFoundError, ProcessLookupError)):
        return "the process has none: it is ending, or a thread of the kernel"
    return f"/proc could not be read: {error.strerror}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A process in the list of all; `state` is the kernel's letter."""

    pid: int
    parent_pid: int
    name: str
    state: str
    start_ticks: int
    rss_bytes: int


def list_processes() -> list[Listed]:
    """Every process that /proc shows to this user, in order of pid."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208  numbers are wanted, not paths
        if name.isdecimal():
            try:
                with ProcFolder(int(name)) as folder:
                    found.append(_listed(folder))
            except (NoSuchInstance, FileNotFoundError, ProcessLookupError):
                continue  # it ended since the listing
    return sorted(found, key=lambda listed: listed.pid)


def _listed(folder: ProcFolder) -> Listed:
    name, fields = parse_stat(folder.small("stat"))
    return Listed(
        pid=folder.pid,
        parent_pid=int(fields[1]),
        name=name,
        state=fields[0],
        start_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
    )


def command_of(pid: int) -> tuple[str, ...]:
    """The command line; empty where it cannot be read. Raises NoSuchInstance."""
    with ProcFolder(pid) as folder:
        try:
            return split_command(folder.read("cmdline"))
        except OSError:
            return ()


def start_ticks(pid: int) -> int:
    """The start time in clock ticks since boot: with the pid, the identity of a process. Raises NoSuchInstance."""
    with ProcFolder(pid) as folder:
        try:
            return int(parse_stat(folder.read("stat"))[1][19])
        except (FileNotFoundError, ProcessLookupError):
            raise gone(pid) from None


def still_runs(pid: int, ticks: int) -> bool:
    """Whether this very process, not another with its pid, still runs; a zombie does not."""
    try:
        with ProcFolder(pid) as folder:
            fields = parse_stat(folder.read("stat"))[1]
    except (OSError, NoSuchInstance):
        return False
    return fields[0] not in ("Z", "X") and int(fields[19]) == ticks


def start_time(ticks: int) -> datetime:
    """A start time in ticks as a time, aware, in UTC.

    Counted from the kernel's own `btime`, which is whole seconds: every observer gets the same answer for a process.
    """
    return datetime.fromtimestamp(_boot_time() + ticks / TICK_HZ, UTC)


def _boot_time() -> int:
    with Path("/proc/stat").open("rb") as stat:
        for line in stat:
            if line.startswith(b"btime "):
                return int(line[6:])
    raise OSError("no btime in /proc/stat")


def check_attachable(pid: int) -> None:
    """Raise what reading the process's memory would raise: CannotAttach or NoSuchInstance.

    Opening `mem` asks the kernel the same question (PTRACE_MODE_ATTACH: uid, capabilities, Yama) that the
    readers of stacks ask later, and changes nothing.
    """
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        raise CannotAttach(f"Process {pid} cannot be read by this user (uid {os.geteuid()}).") from None
    except (FileNotFoundError, ProcessLookupError):
        if _hidden(pid):
            raise CannotAttach(f"Process {pid} is hidden from this user (uid {os.geteuid()}).") from None
        raise gone(pid) from None


def _hidden(pid: int) -> bool:
    """Whether the pid exists although /proc does not show it (mounted with hidepid)."""
    try:
        os.kill(pid, 0)  # asks only: signal 0 is never delivered
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return False
