"""`python core_python.py CORE EXE [--locals]`: the Python threads in a core as JSON, by pystack's engine.

A program of its own, because pystack is C++ that reads a file of somebody else's: it may crash, or never end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pystack.engine import NativeReportingMode, get_process_threads_for_core
from pystack.errors import PystackError
from pystack.types import NativeFrame, PyFrame, PyThread, frame_type

_MOST_FRAMES = 5000


def main(core: str, executable: str, *options: str) -> int:
    """Print the threads, each `{id, gil, merged, frames}`, frames innermost first."""
    native = "--native" in options
    try:
        threads = get_process_threads_for_core(
            core,
            executable,
            native_mode=NativeReportingMode.ALL if native else NativeReportingMode.OFF,
            locals="--locals" in options,
        )
    except PystackError as error:
        sys.exit(str(error))
    json.dump([_thread(thread, native) for thread in threads], sys.stdout)
    return 0


def _thread(thread: PyThread, native: bool) -> dict[str, Any]:
    python = list(thread.all_frames)
    merged = native and _mergeable(thread, python)
    frames = list(_merged(thread, python) if merged else map(_python, _shown(python)))
    return {"id": thread.tid, "gil": thread.holds_the_gil > 0, "merged": merged, "frames": frames[::-1][:_MOST_FRAMES]}


def _mergeable(thread: PyThread, python: list[PyFrame]) -> bool:
    kinds = [frame_type(frame, thread.python_version) for frame in thread.native_frames]
    return kinds.count(NativeFrame.FrameType.EVAL) == sum(1 for frame in python if frame.is_entry) and bool(kinds)


def _merged(thread: PyThread, python: list[PyFrame]) -> Iterator[dict[str, Any]]:
    """As pystack's own printer does it: each evaluation loop stands for the Python frames that it runs."""
    waiting = iter(python)
    following = next(waiting, None)
    for frame in thread.native_frames:
        kind = frame_type(frame, thread.python_version)
        if kind == NativeFrame.FrameType.OTHER:
            yield _native(frame)
        elif kind == NativeFrame.FrameType.EVAL:
            first = True
            while following is not None and (first or not following.is_entry):
                if not following.is_shim:
                    yield _python(following)
                following, first = next(waiting, None), False


def _shown(python: list[PyFrame]) -> list[PyFrame]:
    return [frame for frame in python if not frame.is_shim]


def _python(frame: PyFrame) -> dict[str, Any]:
    code = frame.code
    return {
        "function": code.scope,
        "file": code.filename,
        "line": code.location.lineno,
        "locals": {str(name): str(value) for name, value in {**frame.arguments, **frame.locals}.items()},
    }


def _native(frame: NativeFrame) -> dict[str, Any]:
    known = frame.path not in ("???", "", frame.library)
    return {
        "function": frame.symbol,
        "file": frame.path if known else None,
        "line": frame.linenumber if known else None,
        "address": frame.address,
    }


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
