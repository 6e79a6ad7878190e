"""What was seen of one process, raw and typed: collectors and the agent fill it in, the report assembles it.

Nothing here is redacted yet and nothing here reaches the disk: `report.assemble` passes every text
through the redactor on its way into the report.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from diag.model import Cost, Instance, Level, Link, Missing, TriggerKind

# What the application did not write: files below these folders, and the scripts without a suffix that installers write.
LIBRARY_PATH = re.compile(r"/(?:site|dist)-packages/|/lib(?:64|32)?/(?:python|pypy)\d[\d.]*[a-z]?/|/python\d+\.zip/")
LAUNCHER_PATH = re.compile(r"/bin/[^/.]+$")
PROBE_PATH = re.compile(r"/diag_probe/")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `language` is "python" or "native"; `address` is absolute in the process."""

    function: str
    file: str | None = None
    line: int | None = None
    module: str | None = None
    language: str = "python"
    locals: Mapping[str, str] | None = None
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """What a thread waits for: `kind` is one word ("lock", "socket", "sleep", …), `what` says it.

    `resource` names a thing that one thread holds while others wait; `holder` is the thread that provably does, and
    `proof` says by what. `timed` is a wait that ends by itself.
    """

    kind: str
    what: str
    resource: str = ""
    holder: int | None = None
    proof: str = ""
    timed: bool = False


# The states of a thread that somebody keeps from running.
STOPPED, FROZEN = "stopped", "frozen by its cgroup"


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread, frames innermost first. `thread_id` is the kernel's tid in the agent's pid namespace."""

    thread_id: int
    name: str | None = None
    crashed: bool = False
    holds_gil: bool | None = None
    state: str | None = None
    frames: tuple[Frame, ...] = ()
    waiting: Wait | None = None


@dataclass(frozen=True, slots=True)
class AsyncTask:
    """A task of an event loop that is not done; its coroutines' frames innermost first.

    `awaits` are the tasks that can wake it, with `alone` they and nothing else; `awaited_by` are those that it wakes.
    `resource` and `holder` are of the asyncio lock that it waits for, as in `Wait`. With `timed` a time-out stands over
    it.
    """

    task_id: int
    name: str
    coroutine: str
    state: str  # "running", "ready" or "waiting"
    frames: tuple[Frame, ...] = ()
    awaits: tuple[int, ...] = ()
    alone: bool = False
    awaited_by: tuple[int, ...] = ()
    resource: str = ""
    holder: int | None = None
    proof: str = ""
    timed: bool = False


@dataclass(frozen=True, slots=True)
class EventLoop:
    """An asyncio event loop. `overdue_s` is for how long its first timer has been due: it has not turned since."""

    loop_id: int
    kind: str
    thread_id: int | None
    running: bool
    tasks: tuple[AsyncTask, ...] = ()
    ready: int | None = None
    timers: int | None = None
    overdue_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ExceptionSeen:
    """An exception as the probe walked it, frames innermost first."""

    type: str
    module: str | None
    message: str
    frames: tuple[Frame, ...] = ()
    cause: ExceptionSeen | None = None
    context: ExceptionSeen | None = None
    exceptions: tuple[ExceptionSeen, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """The kernel's signal frame of a crash. `trapno` 0 means sent, not a fault; `address` is cr2 (x86-64)."""

    signal: int
    thread_id: int
    code: int | None = None
    address: int | None = None
    trapno: int | None = None
    registers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """How the process ended: exit `status` or `signal` (never both; both None where nobody could see it).

    `evidence` are sentences: who said so ("wait status of the child", "pidfd exit info", …). `asked` is the signal
    by which the instance was asked to stop before, SIGTERM or SIGINT. `call` is "sys.exit" or "os._exit" where the
    program left by that, with `message`; the evidence's first thread then shows where. `sender` says who sent
    `signal` or `asked`, where that is known.
    """

    status: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    evidence: tuple[str, ...] = ()
    asked: int | None = None
    call: str | None = None
    message: str = ""
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Mapped:
    """One line of /proc/<pid>/maps."""

    start: int
    end: int
    permissions: str
    offset: int
    inode: int
    path: str


@dataclass(frozen=True, slots=True)
class Task:
    """One thread as /proc/<pid>/task sees it."""

    thread_id: int
    name: str
    state: str
    wait_channel: str | None = None


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One look at /proc/<pid>. Sizes in bytes, times in seconds; None where the kernel did not let us read.

    `limits` maps the kernel's names ("Max open files", …) to (soft, hard), None for unlimited.
    `cgroup` is free-form JSON: version, path, memory limit, usage, peak, oom_kill counts, cpu quota.
    `root` is the path under which the process's own files are found ("/" or "/proc/<pid>/root"). Where the instance has
    no start time, as of a core file, `start_time` is the moment of the look.
    """

    pid: int
    parent_pid: int
    start_time: datetime
    command: tuple[str, ...]
    name: str
    working_directory: str | None = None
    executable: str | None = None
    root: str = "/"
    uid: int | None = None
    memory: Mapping[str, int] = field(default_factory=dict)  # rss, peak_rss, virtual, swap, data
    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    page_faults_minor: int | None = None
    page_faults_major: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    context_switches_voluntary: int | None = None
    context_switches_involuntary: int | None = None
    open_files: int | None = None
    limits: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    cgroup: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    maps: tuple[Mapped, ...] = ()
    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the probe saw it; `duration_s` and `status` are None while it is in flight."""

    started: datetime
    thread_id: int
    method: str = ""
    path: str = ""
    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    duration_s: float | None = None
    status: int | None = None

    @property
    def ended(self) -> datetime | None:
        """When it was finished; None while it is in flight."""
        return None if self.duration_s is None else self.started + timedelta(seconds=self.duration_s)

    @property
    def link(self) -> Link:
        """The request's identity as captures carry it."""
        return Link(self.request_id, self.trace_id, self.span_id)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process used at one moment; sizes in bytes, `cpu_s` and `requests` counted from its start.

    None is what could not be read.
    """

    time: datetime
    rss: int | None = None
    cpu_s: float | None = None
    threads: int | None = None
    open_files: int | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """What the black box says: it was written inside, and outlives the process."""

    in_flight: tuple[Request, ...] = ()
    finished: tuple[Request, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()  # {"time": stamp, "kind": str, "message": str}, oldest first
    heap: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)  # version, implementation, executable, argv, …
    left_cleanly: bool = False
    requests_started: int = 0
    requests_finished: int = 0
    dropped: int = 0


def is_own_type(name: str) -> bool:
    """Whether a type of this name, with its module, is neither Python's nor the probe's."""
    module = name.partition(".")[0]
    return module not in (name, "diag_probe", "sitecustomize") and module not in sys.stdlib_module_names


@dataclass(frozen=True, slots=True)
class LastLook:
    """What was seen of a process's memory shortly before its control group had none left.

    `samples` are (time, bytes in use) of the group, oldest first, `used` and `limit` its bytes at `time`. `mappings`
    and `types` are the largest, each with its bytes.
    """

    time: datetime
    used: int
    limit: int
    samples: tuple[tuple[datetime, int], ...] = ()
    mappings: tuple[Mapping[str, Any], ...] = ()  # {"kind", "name", "rss", "mappings"}
    types: tuple[Mapping[str, Any], ...] = ()  # {"name", "count", "bytes"}
    threads: tuple[Thread, ...] = ()
    missing: tuple[Missing, ...] = ()
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What the scheduler counts of a thread: seconds that it ran, that it waited for a processor, and its turns."""

    cpu_s: float = 0.0
    starved_s: float = 0.0
    turns: int = 0


@dataclass(frozen=True, slots=True)
class HangSeen:
    """What looks at a process showed that had not got on for too long; `looks` are two as a rule, in order.

    `kind` is what gave rise to it: "request" (older than `threshold_s`), "loop" (an event loop that has not waited for
    events), "locks" (threads that wait for locks), "stopped" (by `signal`, where that is known; without looks). `age_s`
    is for how long, in time that counts; `uncounted_s` is time besides, in which the process was stopped, frozen,
    traced, or without a processor. `ran` is of each thread between the looks. `timeout_s` is gunicorn's own. With
    `went_on` what was waited for came to an end by itself. `capture_id` is of its record, where it has one of its own;
    `more` is how many like it were not recorded before it.
    """

    kind: str
    age_s: float
    threshold_s: float
    uncounted_s: float = 0.0
    looks: tuple[Evidence, ...] = ()
    requests: tuple[Request, ...] = ()
    ran: Mapping[int, Ran] = field(default_factory=dict)
    timeout_s: float | None = None
    signal: int | None = None
    went_on: bool = False
    capture_id: str | None = None
    more: int = 0


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """What Node's own report says of its death. `trigger` is Node's word; "Abort" where it was read from stderr.

    `rejected` means a promise's rejection that nobody handled. `heap`, `resource_usage` and `libuv` have Node's shape.
    """

    event: str = ""
    trigger: str = ""
    report_version: int | None = None
    version: str = ""
    exception: ExceptionSeen | None = None
    rejected: bool = False
    javascript: tuple[Frame, ...] = ()
    native: tuple[Frame, ...] = ()
    heap: Mapping[str, Any] = field(default_factory=dict)
    resource_usage: Mapping[str, Any] = field(default_factory=dict)
    libuv: tuple[Any, ...] = ()
    workers: int = 0
    of_child: str = ""  # a sentence about the death of another process, where the report is of that
    missing: tuple[Missing, ...] = ()

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Where it stood: in JavaScript where that is known, else in native code."""
        return (self.exception.frames if self.exception else self.javascript) or self.native


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known of one process at one moment; `children` are the other processes of the instance."""

    capture_id: str
    time: datetime
    instance: Instance
    trigger: TriggerKind
    level: Level | None = None
    process: ProcessFacts | None = None
    threads: tuple[Thread, ...] = ()
    loops: tuple[EventLoop, ...] | None = None  # None where nobody was asked
    exception: ExceptionSeen | None = None
    fault: Fault | None = None
    ended: Ended | None = None
    witness: Witness | None = None
    node: NodeSeen | None = None
    last_look: LastLook | None = None
    hang: HangSeen | None = None
    samples: tuple[Sample, ...] = ()  # of its last minutes, oldest first
    stderr_tail: str | None = None
    links: tuple[Link, ...] = ()
    incomplete: tuple[Missing, ...] = ()
    cost: Cost = Cost()
    children: tuple[Evidence, ...] = ()
