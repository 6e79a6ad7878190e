"""Python stacks of a process, read from outside by py-spy; nothing is run inside of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from typing import Any

from diag.collectors import external
from diag.collectors.proc import check_attachable
from diag.collectors.procfs import ProcFolder, parse_stat
from diag.collectors.thread_ids import with_kernel_ids
from diag.errors import NoSuchInstance, ToolFailed, ToolMissing
from diag.evidence import Frame, Thread
from diag.model import Missing

READS = 3
ATTEMPTS = 6
RELEASE_TRIES = 20
_ADDRESS = re.compile(r"0x[0-9a-f]+")


def find() -> str:
    """The path of py-spy. Raises ToolMissing."""
    path = external.find("py-spy")
    if path is None:
        raise ToolMissing("py-spy is not installed; Python stacks are read with it.", "pip install py-spy")
    return path


def version() -> str:
    """The version that py-spy says it is, such as "0.4.1". Raises ToolMissing, ToolFailed."""
    ran = external.run([find(), "--version"], timeout_s=external.STARTS_S)
    words = ran.stdout.decode("ascii", "replace").split()
    if ran.status != 0 or not words:
        raise ToolFailed(f"py-spy --version failed: {ran.stderr or 'it said nothing'}")
    return words[-1]


def dump(
    pid: int, *, native: bool = False, locals_: bool = False, nonblocking: bool = False, timeout_s: float = 10
) -> tuple[Thread, ...]:
    """The stacks of all threads, frames innermost first.

    With `nonblocking` the process is not stopped, so a stack may mix two moments (see `dump_settled`); py-spy has no
    native frames then. Raises NoSuchInstance, CannotAttach, ToolMissing, ToolFailed.
    """
    check_attachable(pid)  # first: where nothing may be read, no tool is missed
    arguments = [find(), "dump", "--json", "--pid", str(pid)]
    arguments += ["--native"] if native else []
    arguments += ["--locals"] if locals_ else []
    arguments += ["--nonblocking"] if nonblocking else []
    stopped = _state(pid) == "T"
    try:
        ran = external.run(arguments, timeout_s=timeout_s, environment={"RUST_BACKTRACE": "0"})
    except BaseException:
        _release(pid, stopped)
        raise
    if ran.status is None:
        _release(pid, stopped)
        raise ToolFailed(f"py-spy did not read process {pid} within {timeout_s:.1f} s.")
    if ran.status != 0:
        check_attachable(pid)
        raise ToolFailed(f"py-spy could not read process {pid}: {ran.stderr or f'exit status {ran.status}'}")
    return parse(ran.stdout, pid)


def dump_settled(pid: int, *, timeout_s: float = 10) -> tuple[tuple[Thread, ...], tuple[Missing, ...]]:
    """The stacks without a stop: each thread as two reads in a row agree on it, or marked where none did.

    Raises NoSuchInstance, CannotAttach, ToolMissing, ToolFailed.
    """
    latest: dict[int, Thread] = {}
    settled: dict[int, Thread] = {}
    reads, failure = 0, None
    until = time.monotonic() + timeout_s
    for _ in range(ATTEMPTS):
        try:
            threads = dump(pid, nonblocking=True, timeout_s=max(0.1, until - time.monotonic()))
        except ToolFailed as error:  # memory changed under the read: it can succeed the next time
            failure = error
            continue
        before, latest = latest, {thread.thread_id: thread for thread in threads}
        settled.update({id_: thread for id_, thread in latest.items() if _agree(before.get(id_), thread)})
        reads += 1
        if reads >= READS or time.monotonic() > until or (reads > 1 and latest.keys() <= settled.keys()):
            break
    if not reads and failure:
        raise failure
    moved = tuple(_moved(thread) for id_, thread in latest.items() if id_ not in settled)
    return tuple(settled.get(id_, thread) for id_, thread in latest.items()), moved


def _agree(one: Thread | None, other: Thread) -> bool:
    """Whether both reads show the same calls. The line that runs may differ: a loop in one function is one stack."""
    return one is not None and _calls(one) == _calls(other)


def _calls(thread: Thread) -> list[tuple[str, str | None, int | None]]:
    calls = [(frame.function, frame.file, frame.line) for frame in thread.frames]
    return [(*calls[0][:2], None), *calls[1:]] if calls else []


def _moved(thread: Thread) -> Missing:
    name = f" ({thread.name})" if thread.name else ""
    return Missing(
        "threads",
        f"thread {thread.thread_id}{name}: the stack moved between two reads without a stop; it may mix two moments",
    )


def parse(content: bytes, pid: int) -> tuple[Thread, ...]:
    """The threads in the output of `py-spy dump --json`. Raises ToolFailed where it is none."""
    try:
        rows = json.loads(content.decode("utf-8", "replace"))
        threads = [_thread(row) for row in rows if row.get("pid", pid) == pid]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ToolFailed(f"py-spy gave something that is not its JSON: {error!r}") from error
    return with_kernel_ids(pid, threads)


def _thread(row: dict[str, Any]) -> Thread:
    return Thread(
        thread_id=row.get("os_thread_id") or row["thread_id"],
        name=row.get("thread_name"),
        holds_gil=row.get("owns_gil"),
        state="active" if row.get("active") else "idle",
        frames=tuple(_frame(frame) for frame in row["frames"]),
    )


def _frame(row: dict[str, Any]) -> Frame:
    name, module, file = str(row["name"]), row.get("module"), row.get("filename") or None
    variables = row.get("locals")
    is_address = _ADDRESS.fullmatch(name) is not None
    if is_address and module is None:
        file = None  # code in no file, as just-in-time compilers make it: py-spy says "?"
    return Frame(
        function=name,
        file=None if file == module else file,  # of a native frame without debug information py-spy repeats the module
        line=row.get("line") or None,
        module=module,
        language="python" if module is None and not is_address else "native",
        locals=None if variables is None else {str(v["name"]): str(v.get("repr") or "") for v in variables},
        address=int(name, 16) if is_address else None,
    )


def _state(pid: int) -> str | None:
    """The kernel's letter for the process: "T" is stopped by a signal."""
    try:
        with ProcFolder(pid) as folder:
            return parse_stat(folder.small("stat"))[1][0]
    except (OSError, NoSuchInstance, ValueError):
        return None


def _release(pid: int, was_stopped: bool) -> None:
    """Let the process run on, should py-spy have been ended between its PTRACE_ATTACH and its detach.

    The kernel detaches by itself, but the SIGSTOP that an attach sends can outlive its tracer. A process that
    somebody else stopped before is left as it is.
    """
    if was_stopped:
        return
    for _ in range(RELEASE_TRIES):
        if _state(pid) == "T":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGCONT)
            return
        time.sleep(0.001)
