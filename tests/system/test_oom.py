"""Out of memory: what is seen of a program before the kernel ends it, by an agent in the same control group."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from instances import DIAG, Machine, program
from machine import TIMEOUT_S, missing, python

from diag.agent.memory_watch import SPARED

TOP = Path("/sys/fs/cgroup/memory")
LIMIT = 192 << 20


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory group of version 1 with a limit, empty."""
    if os.geteuid() or not (TOP / "cgroup.event_control").exists():
        missing("needs root, and memory groups of version 1")
    folder = TOP / f"diag-test-{os.getpid()}"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    yield folder
    until = time.monotonic() + TIMEOUT_S
    while (folder / "cgroup.procs").read_text():
        assert time.monotonic() < until, "somebody stays in the group"
        time.sleep(0.01)
    folder.rmdir()


def inside(group: Path, share: str) -> tuple[str, ...]:
    """The command that hoards to this share of the limit, with its agent beside it in the group.

    Both go before others: the look may take 0.3 s, in which a busy machine would not let them count everything.
    """
    move = 'echo $$ > "$0/cgroup.procs"; exec nice -n -19 "$@"'
    run = (*DIAG, "run", "--name", "shop", "--", python("3.11"), program("hoarding.py"), str(group), share)
    return ("sh", "-c", move, str(group), *run)


def test_an_oom_kill_shows_what_grew(machine: Machine, group: Path) -> None:
    """The one record has growth with numbers, the mapping, the type, and the stack of the thread that took it.

    The look at types ends after a time, wherever it is then, and says so.
    """
    ended = machine.run(*inside(group, "2"), run=False)

    report = machine.only_report()
    look, gaps = report["lastLook"], report["incomplete"]
    evidence = " ".join(report["verdict"]["evidence"])
    assert ended.status == 137
    assert (report["level"], report["trigger"], report["verdict"]["cause"]) == ("OUTSIDE", "oom", "oom")
    assert look["limit"] == LIMIT
    assert LIMIT * 0.9 <= look["used"] <= LIMIT
    assert [one["used"] for one in look["samples"]][-1] > look["samples"][0]["used"]
    assert look["types"][0]["name"] == "str"
    whole = not any(gap["section"] == "lastLook.types" for gap in gaps)
    if whole:
        assert {"str", "list", "__main__.Order"} <= {row["name"] for row in look["types"]}, gaps
        assert "__main__.Order" in evidence
    assert look["mappings"][0]["kind"] in ("heap", "anonymous")
    assert look["mappings"][0]["rss"] > LIMIT / 4
    assert "Memory in use grew from" in evidence
    assert "The stacks are of that moment" in evidence
    functions = [frame["function"] for frame in report["threads"][0]["frames"]]
    assert "hoard" in functions
    shown = machine.diag("show", machine.only_capture()["capture_id"]).stdout
    assert "MEMORY" in shown
    assert "__main__.Order" in shown or not whole


def test_below_the_share_nothing_is_asked(machine: Machine, group: Path) -> None:
    """A program that stays below it is not looked at, and while it idles nothing wakes the agent."""
    process = machine.start(*inside(group, "0.7"), run=False, stdin=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    until, before = time.monotonic() + TIMEOUT_S, -1
    while (now := wake_ups(process.pid)) != before:
        assert time.monotonic() < until, "the agent does not sleep"
        before = now
        time.sleep(1.5)
    (child,) = [pid for pid in (group / "cgroup.procs").read_text().split() if "hoarding" in command_of(pid)]
    assert oom_score(child) == oom_score("self")
    assert oom_score(str(process.pid)) in (SPARED, oom_score("self"))
    process.communicate("", timeout=TIMEOUT_S)
    assert machine.captures() == []


def wake_ups(pid: int) -> int:
    """How often the threads of a process have given up the processor, ever."""
    texts = []
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):  # a thread that has ended
            texts.append(path.read_text())
    return sum(int(number) for text in texts for number in re.findall(r"ctxt_switches:\s*(\d+)", text))


def command_of(pid: str) -> str:
    """The second word of its command line, which names the program."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1]


def oom_score(pid: str) -> int:
    """What the OOM killer adds for this process."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
