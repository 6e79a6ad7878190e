"""The stacks in a core file: by eu-stack, and of a Python by pystack, each with a limit on its time and memory.

Without a tool the registers still say in which function each thread stood.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from diag.collectors import eu_stack, external
from diag.collectors.core_file import Core
from diag.errors import DiagError, ToolFailed, ToolMissing
from diag.evidence import Frame, Thread
from diag.model import Missing

TIMEOUT_S, START_S = 60.0, 20.0
MEMORY_BYTES = 2 << 30
_PYTHON = re.compile(r"/(?:lib)?python(?P<series>\d\.\d+)?[\d.]*[a-z]*(?:\.so[\d.]*)?(?: \(deleted\))?$")
_EVALUATES = re.compile(r"_?PyEval_")
_INLINED = " (inlined)"
_GET_PYSTACK = "pip install 'diag[cores]'"


@dataclass(frozen=True, slots=True)
class CoreStacks:
    """The threads, the one that died first and marked, and what is missing of them."""

    threads: tuple[Thread, ...]
    missing: tuple[Missing, ...] = ()


def runtime_of(core: Core) -> str:
    """ "python 3.11", "node", "" where it is no core of a program, else "native": by the names of its files."""
    found = [match for mapped in core.maps if (match := _PYTHON.search(mapped.path))]
    if found:
        return f"python {max(match['series'] or '' for match in found)}".strip()
    if core.executable is None:
        return ""
    return "node" if core.executable.endswith(("/node", "/nodejs")) else "native"


def read(core: Core, executable: str | None, *, python: bool, with_locals: bool = False) -> CoreStacks:
    """All threads of the core. `executable` is the file that it ran; without it only eu-stack's guess is to be had."""
    missing: list[Missing] = []
    native = _take(missing, "nativeStack", lambda: _native(core, executable))
    spoken = {}
    if python:
        spoken = _take(missing, "pythonStack", lambda: _python(core, executable, with_locals))
    found = []
    for number, thread in enumerate(core.threads):
        frames = _joined(native.get(thread.thread_id), spoken.get(thread.thread_id)) or tuple(_by_register(thread))
        gil = spoken[thread.thread_id].holds_gil if thread.thread_id in spoken else None
        found.append(Thread(thread.thread_id, crashed=not number and bool(core.signal), holds_gil=gil, frames=frames))
    bare = sum(1 for thread in found if len(thread.frames) < 2)
    if bare and not missing:
        missing.append(Missing("threads.frames", f"of {bare} threads no caller was found: their stacks are not there"))
    return CoreStacks(tuple(found), tuple(missing))


def _take(missing: list[Missing], section: str, read: Any) -> dict[int, Thread]:
    try:
        threads: Iterable[Thread] = read()
    except DiagError as error:
        missing.append(Missing(section, f"{error} {error.help_text}".strip()))
        return {}
    return {thread.thread_id: thread for thread in threads}


def _native(core: Core, executable: str | None) -> tuple[Thread, ...]:
    return eu_stack.dump_core(core.path, executable, timeout_s=TIMEOUT_S, memory_bytes=MEMORY_BYTES)


def check_pystack() -> str:
    """pystack's version. Raises ToolMissing where it is not there, or does not start."""
    if importlib.util.find_spec("pystack") is None:
        raise ToolMissing("Python stacks in a core are read by pystack, which is not there.", _GET_PYSTACK)
    ran = external.run([sys.executable, "-P", "-c", "import pystack.engine"], timeout_s=START_S)
    if ran.status != 0:
        raise ToolMissing(f"pystack does not start: {ran.stderr or f'exit status {ran.status}'}", _GET_PYSTACK)
    return importlib.metadata.version("pystack")


def _python(core: Core, executable: str | None, with_locals: bool) -> Iterator[Thread]:
    if importlib.util.find_spec("pystack") is None:
        raise ToolMissing("Python stacks in a core are read by pystack, which is not there.", _GET_PYSTACK)
    if executable is None:
        raise ToolFailed("Python stacks are read with the interpreter's file.", "Name it with --exe.")
    program = str(Path(__file__).with_name("core_python.py"))
    options = ["--native", *(["--locals"] if with_locals else [])]
    ran = external.run(
        [sys.executable, "-P", program, str(core.path), executable, *options],
        timeout_s=TIMEOUT_S,
        memory_bytes=MEMORY_BYTES,
    )
    try:
        rows = json.loads(ran.stdout) if ran.status == 0 else None
    except ValueError:
        rows = None
    if not isinstance(rows, list):
        why = f"not within {TIMEOUT_S:.0f} s" if ran.status is None else ran.stderr or f"exit status {ran.status}"
        raise ToolFailed(f"pystack could not read the core: {why}", "")
    return (_thread(row, with_locals) for row in rows if row["id"])


def _thread(row: dict[str, Any], with_locals: bool) -> Thread:
    frames = tuple(_frame(frame, with_locals) for frame in row["frames"])
    # What could not be merged has Python frames alone: `state` tells the one who joins them.
    return Thread(row["id"], holds_gil=row["gil"], state=None if row["merged"] else "apart", frames=frames)


def _frame(row: dict[str, Any], with_locals: bool) -> Frame:
    if "address" not in row:
        return Frame(row["function"], row["file"], row["line"], locals=row["locals"] if with_locals else None)
    address = int(row["address"])
    name = str(row["function"]).removesuffix(_INLINED).partition("@")[0]
    function = name if name and not name.startswith("??") else f"{address:#018x}"
    return Frame(function, row["file"], row["line"], language="native", address=address)


def _joined(native: Thread | None, python: Thread | None) -> tuple[Frame, ...]:
    """pystack's frames where it merged them; else the C frames down to the first evaluation loop, then Python's."""
    if python is None or not python.frames:
        return native.frames if native else ()
    if python.state is None or native is None:
        return python.frames
    above = tuple(takewhile(lambda frame: not _EVALUATES.match(frame.function), native.frames))
    return (*above, *python.frames)


def _by_register(thread: Any) -> Iterator[Frame]:
    rip = thread.registers.get("rip")
    if rip is not None:
        yield Frame(f"{rip:#018x}", language="native", address=rip)
