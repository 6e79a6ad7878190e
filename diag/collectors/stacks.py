"""Stacks of all threads of a process and of the instance's other processes, once or several times in a row."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from diag.collectors import eu_stack, pyspy
from diag.collectors.asked import StacksAsked
from diag.collectors.collector import Collected, Subject, Watch
from diag.collectors.inside import ask_inside
from diag.collectors.live import look
from diag.collectors.proc import check_attachable, start_ticks
from diag.collectors.threads import Depth
from diag.errors import DiagError, NoSuchInstance, WrongEngine, WrongRuntime
from diag.evidence import Evidence
from diag.model import Missing


class _Stacks:
    """What all engines do alike: which one reads a process is said by what it is made of."""

    engine = ""

    def __init__(self, asked: StacksAsked) -> None:
        self._asked = asked

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """`facts["looks"]` are the looks, each a tuple of evidence, one for each process. Raises NoSuchInstance."""
        looks: list[tuple[Evidence, ...]] = []
        missing: list[Missing] = []
        began = time.monotonic()
        for number in range(self._asked.looks):
            if number and watch.stop.wait(max(0.0, began + number * self._asked.every_s - time.monotonic())):
                break
            try:
                looks.append(self._look(subject, missing if not number else []))
            except NoSuchInstance:
                if not looks:
                    raise
                break  # what was seen before it ended is kept
            watch.show((number + 1) / self._asked.looks, f"look {number + 1} of {self._asked.looks}")
        if len(looks) < self._asked.looks:
            missing.append(Missing("looks", f"{len(looks)} of {self._asked.looks} were taken"))
        pause_s = sum(one.cost.pause_s for seen in looks for one in seen)
        return Collected((), self._version(), {"looks": tuple(looks)}, pause_s, tuple(missing))

    def _version(self) -> str:
        return self.engine

    def _look(self, subject: Subject, missing: list[Missing]) -> tuple[Evidence, ...]:
        seen = [self._one(subject)]
        for pid in self._asked.others:
            try:
                seen.append(self._one(replace(subject, pid=pid, start_ticks=start_ticks(pid))))
            except NoSuchInstance:
                continue  # a worker that has ended
            except DiagError as error:
                missing.append(Missing(f"process {pid}", f"{error} {error.help_text}"))
        return tuple(seen)

    def _one(self, subject: Subject) -> Evidence:
        depth = Depth(self._asked.locals, self._asked.native, asking=True)
        evidence = look(replace(subject.instance, pid=subject.pid), depth=depth)
        return ask_inside(evidence, subject.run_dir, self._asked.tasks)


class PythonStacks(_Stacks):
    """Python's stacks by py-spy, from outside."""

    engine = "py-spy"

    def check(self, subject: Subject) -> str:
        """It is Python, and its memory may be read."""
        if subject.language != "python":
            raise WrongRuntime(f"This engine is for Python, and pid {subject.pid} is {subject.runtime or 'unknown'}.")
        check_attachable(subject.pid)
        pyspy.find()
        return f"reads it from outside, {_stops(self._asked, '1 to 3 ms a thread')}"

    def _version(self) -> str:
        return f"py-spy {pyspy.version()}"


class GoStacks(_Stacks):
    """Goroutines, where the program serves net/http/pprof."""

    engine = "go"

    def check(self, subject: Subject) -> str:
        """It is Go, and one of its own sockets answers for it."""
        from diag.collectors import go_pprof

        go_pprof.check_go(subject)
        return f"Go lists its goroutines, and {go_pprof.check(subject)}; it stands still while it writes them down"


class NodeStacks(_Stacks):
    """JavaScript's stack by a sample of V8's."""

    engine = "node"

    def check(self, subject: Subject) -> str:
        """It is Node, it catches SIGUSR1, and its port is free; or its inspector is open."""
        from diag.collectors import inspector

        if subject.language != "node":
            raise WrongRuntime(f"This engine is for Node, and pid {subject.pid} is {subject.runtime or 'unknown'}.")
        if subject.standing:
            raise WrongEngine(f"The process is {subject.standing}: it cannot answer.")
        check_attachable(subject.pid)
        if inspector.already_open(subject.pid):
            return "V8 samples its main thread; its inspector is open already"
        inspector.check_signal(subject.pid)
        return (
            "V8 samples its main thread; SIGUSR1 opens Node's inspector on loopback for that time, "
            "of which Node writes three lines to its stderr"
        )


class NativeStacks(_Stacks):
    """Native stacks by eu-stack, where they are asked for."""

    engine = "eu-stack"

    def check(self, subject: Subject) -> str:
        """They are asked for, and eu-stack is there."""
        if subject.language != "native":
            raise WrongRuntime(
                f"This engine is for native programs, and pid {subject.pid} is {subject.runtime or 'unknown'}."
            )
        check_attachable(subject.pid)
        path = eu_stack.find()
        if not self._asked.native:
            raise WrongEngine("eu-stack stops the process while it reads.", "`diag stacks --native` asks for it.")
        return f"eu-stack ({path}) reads it, {_stops(self._asked, '0.2 to 2 ms')}"


class KernelStacks(_Stacks):
    """What the kernel says of any process: its threads, and in which call each of them waits."""

    engine = "kernel"

    def check(self, subject: Subject) -> str:
        """Its folder in /proc may be read."""
        check_attachable(subject.pid)
        if self._asked.native and subject.language == "native":
            eu_stack.find()  # who asks for frames is told what they need
        return "the kernel says what each thread waits for, without a stop; stacks are not read"


def _stops(asked: StacksAsked, words: str) -> str:
    if not (asked.native or asked.locals):
        return "without a stop"
    return f"which stops it for {words}"
