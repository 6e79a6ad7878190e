"""What a collector is: one tool that takes one kind of evidence from one live instance.

`check()` says beforehand how it will work here, or raises what would make it work; `collect()` runs it. A collector
writes only into the folder that it is given, never touches what somebody else has stopped, and ends early when it is
told to, with what it has until then.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from diag.collectors.proc import still_runs
from diag.model import Instance, Missing

LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is looked at. `runtime` is as `runtime_of` says it; `run_dir` is its agent's folder where a probe is linked;
    then `prefix` is where its Python has its packages, as the probe says it.

    `pid` and `start_ticks` together name the process; `standing` says in words who keeps it from running, if anybody.
    """

    instance: Instance
    pid: int
    start_ticks: int
    runtime: str
    standing: str | None = None
    run_dir: Path | None = None
    prefix: str = ""

    @property
    def language(self) -> str:
        """ "python", "node", "go", "native", or "" where it could not be told."""
        return self.runtime.partition(" ")[0]

    @property
    def version(self) -> tuple[int, ...]:
        """The runtime's version as numbers, empty where it is not known."""
        text = self.runtime.partition(" ")[2]
        return tuple(int(part) for part in text.split(".") if part.isdecimal())


@dataclass(frozen=True, slots=True)
class Made:
    """A file that a collector made, in the folder that it was given.

    `started` is when what it holds began, in seconds since 1970, for formats that do not say it themselves.
    """

    path: Path
    kind: str
    format: str
    content_type: str
    started: float = 0.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collector brings back. `facts` are raw figures for the summary, such as samples, lost ones, packets.

    `pause_s` is for how long the subject stood still because of us.
    """

    files: tuple[Made, ...]
    engine: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    pause_s: float = 0.0
    incomplete: tuple[Missing, ...] = ()


class Watch:
    """The way out and the way to say how far it is: `stop` is set when what is there is enough."""

    def __init__(
        self, progress: Callable[[float, str], None] | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        self.stop = threading.Event()
        self._progress = progress
        self._tell = tell

    def wait(self, subject: Subject, seconds: float, words: str) -> float:
        """Let this time pass, and show it; less of it where it is enough, or where the subject has ended. How much."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds and still_runs(subject.pid, subject.start_ticks):
            self.show(passed / seconds, words)
            if self.stop.wait(min(LOOK_EVERY_S, seconds - passed)):
                break
        return time.monotonic() - began

    def show(self, done: float, words: str = "") -> None:
        """Tell that this part of it (0 to 1) is done, and what was gathered."""
        if self._progress:
            self._progress(min(1.0, done), words)

    def tell(self, words: str) -> None:
        """Tell what the user should know while it goes on."""
        if self._tell:
            self._tell(words)


class Collector(Protocol):
    """One tool, made with what was asked of it (rate, duration, filter, …), so that each has options of its own."""

    engine: str

    def check(self, subject: Subject) -> str:
        """How it will work on this subject, in words, without touching it; what it costs, where it costs something.

        Raises WrongEngine, ToolMissing, CannotAttach, … where it does not, with what would make it work.
        """
        ...

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """Take the evidence. Raises a DiagError where there is nothing to keep."""
        ...


# kind -> engine -> class, in the order in which `auto` tries them. Each class takes the options of its kind.
COLLECTORS: dict[str, dict[str, str]] = {
    "profile": {
        "py-spy": "diag.collectors.pyspy_record:PySpyRecord",
        "austin": "diag.collectors.austin_record:AustinRecord",
        "node": "diag.collectors.node_profile:NodeProfile",
        "go": "diag.collectors.go_profile:GoProfile",
        "perf": "diag.collectors.perf_record:PerfRecord",
    },
    "memory": {
        "memray": "diag.collectors.memray_record:Memray",
        "objects": "diag.collectors.objects:Objects",
        "tracemalloc": "diag.collectors.tracemalloc_record:Tracemalloc",
        "node": "diag.collectors.node_heap:NodeHeap",
        "go": "diag.collectors.go_heap:GoHeap",
        "smaps": "diag.collectors.smaps:Smaps",
    },
    "stacks": {
        "py-spy": "diag.collectors.stacks:PythonStacks",
        "go": "diag.collectors.stacks:GoStacks",
        "node": "diag.collectors.stacks:NodeStacks",
        "eu-stack": "diag.collectors.stacks:NativeStacks",
        "kernel": "diag.collectors.stacks:KernelStacks",
    },
    "exec": {
        "namespaces": "diag.collectors.beside.collect:Beside",
    },
    "packets": {
        "tcpdump": "diag.collectors.tcpdump:Tcpdump",
    },
}


def collector(kind: str, engine: str) -> Callable[[Any], Collector]:
    """The class of an engine, imported now."""
    module, name = COLLECTORS[kind][engine].split(":")
    found: Callable[[Any], Collector] = getattr(importlib.import_module(module), name)
    return found
