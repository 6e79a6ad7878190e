"""Native stacks of a process by elfutils' eu-stack, which stops it for about a millisecond."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from diag.collectors import external
from diag.collectors.proc import check_attachable
from diag.errors import ToolFailed, ToolMissing
from diag.evidence import Frame, Thread

_THREAD = re.compile(r"TID (\d+):$")
_FRAME = re.compile(r"#\d+\s+0x([0-9a-f]+)(?: (?P<function>.+?))??(?: - (?P<module>/.*))?$")
_OF_A_CORE = re.compile(r" - [^\s/][^\n]*$", re.MULTILINE)  # the module's name without its folder
_SOURCE = re.compile(r"\s+(?P<file>\S.*?):(?P<line>\d+)(?::\d+)?$")


def find() -> str:
    """The path of eu-stack. Raises ToolMissing."""
    path = external.find("eu-stack")
    if path is None:
        raise ToolMissing("eu-stack is not installed; native stacks are read with it.", "apt-get install elfutils")
    return path


def dump(pid: int, *, timeout_s: float = 10) -> tuple[Thread, ...]:
    """The stacks of all threads, frames innermost first. Raises CannotAttach, ToolMissing, ToolFailed, …"""
    check_attachable(pid)
    ran = external.run([find(), "-m", "-s", "-p", str(pid)], timeout_s=timeout_s)
    threads = parse(ran.stdout.decode("utf-8", "replace"))
    if not any(thread.frames for thread in threads):  # it also fails where only the end of a stack was not found
        check_attachable(pid)
        raise ToolFailed(f"eu-stack could not read process {pid}: {ran.stderr or f'exit status {ran.status}'}")
    return threads


def dump_core(core: Path, executable: str | None, *, timeout_s: float, memory_bytes: int) -> tuple[Thread, ...]:
    """The stacks in a core file, without modules. Raises ToolMissing, ToolFailed."""
    named = ["--executable", executable] if executable else []
    ran = external.run(
        [find(), "-m", "-s", "--core", str(core), *named], timeout_s=timeout_s, memory_bytes=memory_bytes
    )
    threads = parse(_OF_A_CORE.sub("", ran.stdout.decode("utf-8", "replace")))
    if not any(thread.frames for thread in threads):
        why = f"not within {timeout_s:.0f} s" if ran.status is None else ran.stderr or f"exit status {ran.status}"
        raise ToolFailed(f"eu-stack could not read the core: {why}")
    return threads


def parse(text: str) -> tuple[Thread, ...]:
    """The threads in what eu-stack prints with -m and -s."""
    found: list[tuple[int, list[Frame]]] = []
    for line in text.splitlines():
        if thread := _THREAD.match(line):
            found.append((int(thread[1]), []))
        elif found and (frame := _FRAME.match(line)):
            found[-1][1].append(_frame(frame))
        elif found and found[-1][1] and (source := _SOURCE.match(line)):
            last = found[-1][1].pop()
            found[-1][1].append(replace(last, file=source["file"], line=int(source["line"])))
    return tuple(Thread(thread_id, frames=tuple(frames)) for thread_id, frames in found)


def _frame(found: re.Match[str]) -> Frame:
    address = int(found[1], 16)
    function = found["function"] or f"{address:#018x}"
    return Frame(function.partition("@")[0] or function, module=found["module"], language="native", address=address)
