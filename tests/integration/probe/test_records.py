"""What the probe writes when a program meets an exception: told to the agent, kept in the black box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from machine import VERSIONS
from probed import Program, line_of, path_of, visible
from standin import StandIn

from diag.probe.diag_probe import layout


def fatal_of(agent: StandIn, version: str, name: str, **variables: str) -> dict[str, Any]:
    """Run a program to its death; the FATAL record, which the agent was told of."""
    Program(version, [path_of(name)], variables=variables).probed(agent)
    (connection,) = agent.connections
    assert connection.messages(layout.FATAL)
    fatal = agent.box().fatal
    assert fatal is not None
    assert agent.box().counter(layout.DROPPED_AT) == 0
    return fatal


def places(frames: list[Any]) -> list[tuple[str, int]]:
    """Function and line of each frame."""
    return [(frame[0], frame[2]) for frame in frames]


@pytest.mark.parametrize("version", VERSIONS)
def test_uncaught_exception(version: str, agent: StandIn) -> None:
    """The exception with its cause, each frame, and the stacks of the other threads."""
    fatal = fatal_of(agent, version, "raise_chain.py")

    exc = fatal["exception"]
    assert (fatal["kind"], exc["type"], exc["module"], exc["message"]) == (
        "uncaught",
        "Trouble",
        "__main__",
        "it broke",
    )
    assert places(exc["frames"]) == [
        ("outer", line_of("raise_chain.py", "raise")),
        ("<module>", line_of("raise_chain.py", "module")),
    ]
    assert exc["frames"][0][1:] == (path_of("raise_chain.py"), line_of("raise_chain.py", "raise"), "__main__", None)
    assert exc["cause"]["message"] == "number 7"
    assert places(exc["cause"]["frames"])[0] == ("inner", line_of("raise_chain.py", "cause"))
    ((tid, name, frames),) = fatal["threads"]
    assert (name, tid != fatal["tid"]) == ("waiter", True)
    assert ("wait", line_of("raise_chain.py", "waiting")) in places(frames)
    assert fatal["heap"]["allocatedBlocks"] > 1000


@pytest.mark.parametrize("version", VERSIONS)
def test_leaving(version: str, agent: StandIn) -> None:
    """sys.exit is noted with what it was given and its callers, os._exit too; both stay what they look like."""
    Program(version, [path_of("leave.py")]).probed(agent)

    last = [agent.box(connection).leaving for connection in agent.connections]
    assert [(left["kind"], left["call"], left["status"], left["exception"]["message"]) for left in last if left] == [
        ("exit", "sys.exit", 1, "nothing to do"),
        ("exit", "os._exit", 9, ""),
    ]
    assert places(last[0]["exception"]["frames"] if last[0] else []) == [
        ("leave", line_of("leave.py", "leave")),
        ("<module>", line_of("leave.py", "module")),
    ]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_exception_group(version: str, agent: StandIn) -> None:
    """A group has its members and its notes."""
    exc = fatal_of(agent, version, "raise_group.py")["exception"]

    assert exc["notes"] == ["seen at night"]
    assert [member["type"] for member in exc["exceptions"]] == ["ValueError", "KeyError"]
    assert places(exc["exceptions"][1]["frames"]) == [("fail", line_of("raise_group.py", "raise"))]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("memory_limit.py", "MemoryError"),
        ("no_descriptors.py", "OSError"),
        ("stderr_closed.py", "ZeroDivisionError"),
        ("own_excepthook.py", "LookupError"),
        ("bad_excepthook.py", "LookupError"),
    ],
)
def test_hard_endings(version: str, name: str, kind: str, agent: StandIn) -> None:
    """No memory, no descriptor, no directory, no stderr, or a hook that does not chain: the record is whole."""
    fatal = fatal_of(agent, version, name)

    assert fatal["exception"]["type"] == kind
    assert fatal["exception"]["frames"][0][2] == line_of(name, "raise")


@pytest.mark.parametrize("version", VERSIONS)
def test_recursion(version: str, agent: StandIn) -> None:
    """Of a thousand frames both ends are kept, and the rest is counted."""
    exc = fatal_of(agent, version, "recursion.py")["exception"]

    assert exc["type"] == "RecursionError"
    assert exc["frames"][0][2] == line_of("recursion.py", "recursion")
    assert exc["frames"][-1][0] == "<module>"
    assert len(exc["frames"]) == 100
    assert exc["cut"] > 800


@pytest.mark.parametrize("version", VERSIONS)
def test_hostile_exception(version: str, agent: StandIn) -> None:
    """An exception whose own code fails, in a chain that goes round, is recorded as far as it can be."""
    exc = fatal_of(agent, version, "hostile_exception.py")["exception"]

    assert (exc["type"], exc["module"], exc["message"]) == ("Hostile", None, "<its __str__ raised RuntimeError>")
    assert exc["cause"]["cause"] is None


@pytest.mark.parametrize("version", VERSIONS)
def test_syntax_error(version: str, agent: StandIn) -> None:
    """A SyntaxError names the line it speaks of, although nothing ran."""
    Program(version, ["-c", "\n\nx = = 1"]).probed(agent)

    fatal = agent.box().fatal
    assert fatal is not None
    assert places(fatal["exception"]["frames"]) == [("<module>", 3)]


@pytest.mark.parametrize("version", VERSIONS)
def test_locals(version: str, agent: StandIn) -> None:
    """With DIAG_LOCALS=1 frames have their locals, made without any of the program's code."""
    exc = fatal_of(agent, version, "locals.py", DIAG_LOCALS="1")["exception"]

    found = exc["frames"][0][4]
    assert found["count"] == "3"
    assert found["name"] == "'Ada'"
    assert found["items"] == "<list of 3>"
    assert found["thing"] == "<__main__.Secretive>"
    assert found["huge"] == "<int of 100001 bits>"
    assert len(found["text"]) == 200


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "kind", "messages"),
    [
        ("raise_in_thread.py", "thread", ["in a thread"]),
        ("raise_in_del.py", "unraisable", ["early", "late"]),
        ("tasks.py", "task", ["nobody asked"]),
    ],
)
def test_events(version: str, name: str, kind: str, messages: list[str], agent: StandIn) -> None:
    """Exceptions that the process survives are events: told one by one, and no end."""
    Program(version, [path_of(name)]).probed(agent)

    box = agent.box()
    assert [(event["kind"], event["exception"]["message"]) for event in box.events] == [(kind, m) for m in messages]
    assert box.events[0]["exception"]["frames"][0][2] == line_of(name, "raise")
    assert agent.connections[0].messages(layout.EVENT) == [
        layout.EVENT + bytes([number]) for number in range(len(messages))
    ]
    assert box.fatal is None
    assert box.state == layout.LEFT_CLEANLY


@pytest.mark.parametrize("version", ["3.8", "3.13"])
@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(3)",
        "raise KeyboardInterrupt",
        "import sys, code; sys.last_value = ValueError(); sys.exit(1)",
        "import sys\ntry: 1/0\nexcept Exception: sys.excepthook(*sys.exc_info())",
    ],
)
def test_no_crash(version: str, code: str, agent: StandIn) -> None:
    """Leaving, being interrupted, and showing an exception are no crash."""
    Program(version, ["-c", code]).probed(agent)

    assert agent.box().fatal is None
    assert agent.box().state == layout.LEFT_CLEANLY


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_event_storm_is_counted(version: str, agent: StandIn) -> None:
    """Of many exceptions at once a few are told and all others are counted."""
    code = "class A:\n def __del__(self): 1/0\nfor _ in range(1000): A()"
    Program(version, ["-c", code]).probed(agent)

    box = agent.box()
    told, dropped = box.counter(layout.EVENTS_AT), box.counter(layout.DROPPED_AT)
    assert told + dropped == 1000
    assert 5 <= told <= 50


@pytest.mark.parametrize("version", VERSIONS)
def test_agent_that_does_not_answer(version: str, stand_in: Callable[..., StandIn]) -> None:
    """Without an answer the exception takes its course; the record is in the box."""
    agent = stand_in(answering=False)

    done = Program(version, ["-c", "1/0"]).probed(agent)

    assert done.returncode == 1
    fatal = agent.box().fatal
    assert fatal is not None
    assert fatal["exception"]["type"] == "ZeroDivisionError"


@pytest.mark.parametrize("version", VERSIONS)
def test_agent_that_never_reads(version: str, stand_in: Callable[..., StandIn]) -> None:
    """An agent that stands still slows nobody: notices are given up, the program ends."""
    agent = stand_in(reading=False)
    code = "class A:\n def __del__(self): 1/0\nfor _ in range(9): A()\n1/0"

    done = Program(version, ["-c", code]).run(agent.environment())

    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_box_without_room(version: str, agent: StandIn) -> None:
    """Where no box can be made the program runs, linked and boxless."""
    agent.boxes.rmdir()

    done = Program(version, ["-c", "print(1); 1/0"]).probed(agent)

    assert (done.returncode, done.stdout) == (1, "1\n")
    assert agent.connections[0].hello["box"] is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_of_multiprocessing(version: str, method: str, agent: StandIn) -> None:
    """The exception that ends a child is the child's last record, although multiprocessing catches it."""
    program = Program(version, [path_of("raise_in_child.py"), method])
    bare = program.bare()

    probed = program.probed(agent)

    assert visible(probed)[:2] == visible(bare)[:2] == (0, "1\n")
    assert probed.stderr == bare.stderr
    (child,) = [connection for connection in agent.connections if connection.messages(layout.FATAL)]
    fatal = agent.box(child).fatal
    assert fatal is not None
    assert places(fatal["exception"]["frames"])[0] == ("work", line_of("raise_in_child.py", "raise"))
