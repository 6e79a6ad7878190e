"""What a process's end is: nothing worth a record, an event, or a crash, and how rich the record can be."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from diag.evidence import Ended
from diag.model import Level, TriggerKind

ASKING = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class End:
    """How an end is recorded; `kind` is the capture's."""

    kind: str
    level: Level
    trigger: TriggerKind


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at the end. `asked` is the last SIGTERM or SIGINT that was sent to the instance through us."""

    raised: bool = False  # an exception reached the top of the main thread
    frozen: bool = False  # it stood still in a fatal signal
    left_cleanly: bool = False  # the interpreter ran its exit handlers
    called: str | None = None  # "sys.exit" or "os._exit", where it left by that
    stacks: bool = False  # and its stacks as it left are known
    timed_out: bool = False  # its server ended it, because it had been silent for too long
    out_of_memory: bool = False  # its cgroup's counter of OOM kills, or the kernel's log, says so
    asked: int | None = None
    node_died: bool = False  # Node itself said why it gives up
    first: bool = True  # the instance's first process, whose status the outside sees


def classify(ended: Ended, seen: Seen) -> End | None:
    """How to record this end, or None where there is nothing to tell."""
    if seen.frozen:
        return End("crash", "NATIVE", "signal")
    if seen.raised:
        return End("crash", "FULL", "exception")
    if seen.timed_out:
        return End("crash", "FULL" if seen.stacks else "OUTSIDE", "hang")
    if ended.signal is not None:
        return _by_signal(ended.signal, seen)
    if ended.status is None:
        return None if seen.left_cleanly else End("event", "EVENT", "exit")
    if ended.status == 0:
        return End("event", "EVENT", "signal") if seen.first and seen.asked else None
    if _answers(ended.status, seen.asked) or seen.left_cleanly or seen.called == "sys.exit":
        return End("event", "EVENT", "signal" if seen.asked else "exit")
    return End("crash", "OUTSIDE", "exit")


def _by_signal(number: int, seen: Seen) -> End:
    if number in ASKING:
        return End("event", "EVENT", "signal")
    if number == signal.SIGKILL and seen.out_of_memory:
        return End("crash", "OUTSIDE", "oom")
    return End("crash", "FULL" if seen.node_died else "OUTSIDE", "signal")


def _answers(status: int, asked: int | None) -> bool:
    # A program that catches SIGTERM often leaves with the status a shell would show.
    return asked is not None and status == 128 + asked
