"""How py-spy writes processes and threads where a format has frames only: as frames in front of the others."""

from __future__ import annotations

import re
from collections.abc import Iterator

from diag.profiles.model import PID, PROCESS, THREAD, THREAD_ID, Label, Labels, label

# `process 1:"name"`, `thread (2): name`; what comes without a number is `thread: name`.
_PROCESS = re.compile(r'process (\d+)(?::"(.*)")?', re.DOTALL)
_THREAD = re.compile(r"thread(?: \((0x[0-9A-Fa-f]+|\d+)\)(?:: (.*))?|: (.+))", re.DOTALL)


def parsed(name: str) -> list[Label]:
    """The labels that a frame of this name stands for; none where it is a frame like others."""
    found = _PROCESS.fullmatch(name)
    if found:
        return [Label(PID, int(found[1])), Label(PROCESS, found[2] or "")]
    found = _THREAD.fullmatch(name)
    if found:
        number = [Label(THREAD_ID, int(found[1], 0))] if found[1] else []
        return [*number, Label(THREAD, found[2] or found[3] or "")]
    return []


def written(labels: Labels) -> Iterator[str]:
    """The names of the frames that stand for these labels."""
    pid, process, thread_id, thread = (label(labels, key) for key in (PID, PROCESS, THREAD_ID, THREAD))
    if pid is not None:
        yield f'process {pid}:"{process}"' if process else f"process {pid}"
    if thread_id is not None or thread is not None:
        number = f" ({thread_id})" if thread_id is not None else ""
        yield f"thread{number}: {thread}" if thread else f"thread{number}"
