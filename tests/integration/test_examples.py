"""The examples of the documentation, typed as they stand there.

A fence tagged `console` is an example that runs: each line that starts with `$ ` is a command, a line
`(exit status N)` below it says how it ends where that is not 0, and other lines show what may be seen. A fence whose
first line is `# NAME` with a file's name is that file. `019f3c1a` stands for the newest capture. All examples of a
page share a home and a working directory. Other fences are only read.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from instances import Machine
from machine import PROGRAMS, TIMEOUT_S, missing, need

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w-]+\.\w+)\n")
STATUS = re.compile(r"\(exit status (\d+)\)")
NEWEST = "019f3c1a"
# Pages whose text says that an instance called shop is running.
WITH_SHOP = {"live-reports.md", "memory.md", "packets.md", "profiling.md", "stacks.md"}


@dataclass
class Example:
    """One command of a page, and how the page says it ends."""

    command: str
    status: int = 0


def fences(page: Path) -> list[tuple[str, str]]:
    """(language, content) of each fence, in order."""
    return FENCE.findall(page.read_text())


def examples(content: str) -> list[Example]:
    """The commands of a console fence."""
    found: list[Example] = []
    for line in content.splitlines():
        if line.startswith("$ "):
            found.append(Example(line[2:]))
        elif known := STATUS.fullmatch(line):
            found[-1].status = int(known[1])
    return found


RUNNABLE = [page for page in PAGES if any(language == "console" for language, _ in fences(page))]


@pytest.fixture
def machine(home: Path) -> Iterator[Machine]:
    """A machine on which nothing was caught yet."""
    machine = Machine(home)
    machine.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    yield machine
    machine.close()


def start_shop(machine: Machine) -> None:
    """An instance called shop, which waits until the test ends; returns when its agent knows its probe."""
    program = str(PROGRAMS / "sleeping_threads.py")
    shop = machine.start(sys.executable, program, flags=("--name", "shop"), stdin=subprocess.PIPE)
    assert shop.stdout is not None
    assert shop.stdout.readline() == "ready\n"
    end = time.monotonic() + TIMEOUT_S
    while not any((machine.home / "run/diag").glob("*/bb/*.*.bb")):
        assert time.monotonic() < end
        time.sleep(0.01)


def typed(machine: Machine, example: Example) -> str:
    """The command as a person would type it."""
    if NEWEST not in example.command:
        return example.command
    return example.command.replace(NEWEST, machine.captures()[-1]["capture_id"])


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_examples_run(page: Path, machine: Machine) -> None:
    """Every command of a page ends as the page says."""
    folder = machine.home / "work"
    folder.mkdir()
    if page.name == "packets.md":
        need("tcpdump")
        if os.geteuid():
            missing("only root listens to packets.")
    if page.name in WITH_SHOP:
        start_shop(machine)
    for language, content in fences(page):
        if named := FILE.match(content):
            (folder / named[1]).write_text(content)
        for example in examples(content) if language == "console" else ():
            done = subprocess.run(
                ["/bin/sh", "-c", typed(machine, example)],
                cwd=folder,
                env=machine.environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            assert done.returncode == example.status, (
                f"{page.name}: {example.command}\n{done.stdout[-500:]}{done.stderr[-2000:]}"
            )


def test_there_are_examples() -> None:
    """The pages about commands have examples that run: the fences are still recognised."""
    assert {"catching-crashes.md", "live-reports.md", "captures.md"} <= {page.name for page in RUNNABLE}
