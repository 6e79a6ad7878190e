"""Frames, threads and exceptions of a report: named, marked as the application's own or not, and bounded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from diag.evidence import LAUNCHER_PATH, LIBRARY_PATH, PROBE_PATH, Evidence, ExceptionSeen, Frame, Thread, Wait
from diag.report.demangle import demangle
from diag.report.elf import Symbol, Symbolizer
from diag.report.values import Gaps, Scrub, clip, encodable, hex_address

FRAMES_KEPT = 200  # of one stack: three quarters of them the innermost, one quarter the outermost
FRAMES_IN_ALL = 20_000
LOCALS_IN_ALL = 5_000
THREADS_KEPT = 1000
_FEWEST_FRAMES = 10
_CHAIN_KEPT = 20
_GROUP_KEPT = 50
_NAME_LIMIT = 512

_BARE_ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,16}")
_RUNTIME_PATH = {
    "go": re.compile(
        r"/src/(?:runtime|internal|net|os|sync|syscall|time|io|bufio)/|/pkg/mod/|/go(?:-[\d.]+)?/src/|/vendor/"
        r"|^(?:runtime|internal|net|os|sync|syscall|time|io|bufio)/|^[^/].*@v\d"  # built with -trimpath
    ),
    "javascript": re.compile(r"^node:|/node_modules/|^<anonymous>$"),  # V8's own functions stand in <anonymous>
}
_INTERPRETER = re.compile(r"/(?:lib)?python[\d.]*[a-z]?(?:\.so[\d.]*)?$")
# What stands on a dying thread above the frame that died: CPython's handler, and libc's return from it, whose symbol is
# not exported, so that unwinders name its neighbours.
_HANDLER = ("faulthandler_fatal_error", "__restore_rt", "<signal handler called>")
_RETURN_STUB = ("__restore_rt", "killpg", "__libc_sigaction", "<signal handler called>")
_HANDLER_DEPTH = 40


@dataclass(slots=True)
class Allowance:
    """How much of very large evidence is taken in: work is bounded before the size is."""

    frames: int = FRAMES_IN_ALL
    locals: int = LOCALS_IN_ALL
    locals_refused: int = 0

    def take_locals(self, count: int) -> bool:
        """Whether so many more values may be shown."""
        if count > self.locals:
            self.locals_refused += count
            return False
        self.locals -= count
        return True


@dataclass(frozen=True, slots=True)
class Scene:
    """What frames are judged against: where the application lives, and what native addresses are."""

    working_directory: str | None = None
    executable: str | None = None
    symbols: Mapping[int, Symbol] = field(default_factory=dict)
    readable: Mapping[str, str] = field(default_factory=dict)
    allowance: Allowance = field(default_factory=Allowance)


def survey(evidence: Evidence, allowance: Allowance) -> Scene:
    """The scene of this evidence, with every native address in it resolved at once."""
    process = evidence.process
    if process is None:
        return Scene(allowance=allowance)
    symbols = Symbolizer(process.maps, process.root).resolve_all(_addresses(evidence)) if process.maps else {}
    names = [symbol.function for symbol in symbols.values() if symbol.function]
    names += [frame.function for thread in evidence.threads for frame in thread.frames if frame.language == "native"]
    return Scene(process.working_directory, process.executable, symbols, demangle(names), allowance)


def _addresses(evidence: Evidence) -> Iterable[int]:
    for thread in evidence.threads[:THREADS_KEPT]:
        for index, frame in enumerate(thread.frames):
            address = address_of(frame)
            if address is not None:
                yield _look_up(address, index)
                yield address
    if evidence.fault is not None and "rip" in evidence.fault.registers:
        yield evidence.fault.registers["rip"]


def _look_up(address: int, index: int) -> int:
    # Callers stand at their return address, which belongs to the next function where the call was the last instruction.
    return address - 1 if index and address else address


def address_of(frame: Frame) -> int | None:
    """The native frame's address: given, or written where the name should be."""
    if frame.address is not None:
        return frame.address
    if frame.language == "native" and _BARE_ADDRESS.fullmatch(frame.function):
        return int(frame.function, 16)
    return None


def in_app(frame: Frame, scene: Scene) -> bool:
    """Whether this is the application's own code, as against libraries, the interpreter and this product."""
    if frame.language == "native":
        return _native_in_app(frame.module or frame.file or "", scene)
    path = frame.file or ""
    if frame.language in _RUNTIME_PATH:
        return bool(path) and not _RUNTIME_PATH[frame.language].search(path)
    if path.startswith("<frozen") or (frame.module or "").partition(".")[0] in ("diag_probe", "sitecustomize"):
        return False
    if LIBRARY_PATH.search(path) or LAUNCHER_PATH.search(path) or PROBE_PATH.search(path):
        return False
    return bool(path or frame.module)


def _native_in_app(path: str, scene: Scene) -> bool:
    home = (scene.working_directory or "").rstrip("/")
    if not home or not path.startswith(home + "/") or path == scene.executable:
        return False
    return not LIBRARY_PATH.search(path) and not _INTERPRETER.search(path)


def frame_json(frame: Frame, index: int, scene: Scene, scrub: Scrub) -> dict[str, Any]:
    """The report's frame: `{function, file, line, module, language, inApp, locals?, address?, buildId?}`."""
    address = address_of(frame)
    symbol = None
    if address is not None and frame.language == "native":
        symbol = scene.symbols.get(_look_up(address, index))
        frame = _named(frame, symbol)
    shown: dict[str, Any] = {
        "function": _function(frame, scene, scrub),
        "file": scrub.text(frame.file, _NAME_LIMIT) if frame.file else None,
        "line": frame.line,
        "module": scrub.text(frame.module, _NAME_LIMIT) if frame.module else None,
        "language": frame.language,
        "inApp": in_app(frame, scene),
    }
    if frame.locals is not None and scene.allowance.take_locals(len(frame.locals)):
        shown["locals"] = scrub.locals(frame.locals)
    if address is not None:
        shown["address"] = hex_address(address)
    if symbol is not None and symbol.build_id:
        shown["buildId"] = symbol.build_id
    return shown


def _named(frame: Frame, symbol: Symbol | None) -> Frame:
    if symbol is None:
        return frame
    function = symbol.name if _BARE_ADDRESS.fullmatch(frame.function) or not frame.function else frame.function
    module = frame.module if frame.module and frame.module.startswith("/") else symbol.path
    return replace(frame, function=function, module=module)


def _function(frame: Frame, scene: Scene, scrub: Scrub) -> str:
    if frame.language != "native":
        return scrub.text(frame.function, _NAME_LIMIT)
    # Names of symbol tables are the linker's; to the redactor `Token::get` looks like a token and its value.
    return clip(encodable(scene.readable.get(frame.function, frame.function)), _NAME_LIMIT)


def frames_json(
    frames: Sequence[Frame], scene: Scene, scrub: Scrub, most: int = FRAMES_KEPT
) -> tuple[list[dict[str, Any]], int]:
    """At most so many of the frames as JSON, and how many were left out between the innermost and the outermost."""
    numbered = list(enumerate(frames))
    cut = max(0, len(numbered) - most)
    if cut:
        outermost = most // 4
        numbered = numbered[: most - outermost] + numbered[-outermost:]
    return [frame_json(frame, index, scene, scrub) for index, frame in numbered], cut


def crash_frames(thread: Thread, evidence: Evidence, scene: Scene) -> tuple[Frame, ...]:
    """The thread's frames from the one that died on: without the signal handler, with the faulting instruction."""
    fault = evidence.fault
    if fault is None or not thread.crashed:
        return thread.frames
    rip = fault.registers.get("rip")
    frames = _after_handler(thread.frames, rip)
    if rip is None or any(frame.language == "native" for frame in frames):
        return frames
    symbol = scene.symbols.get(rip)
    module = symbol.path if symbol else None
    return (Frame(f"{rip:#018x}", module=module, language="native", address=rip), *frames)


def _after_handler(frames: tuple[Frame, ...], rip: int | None) -> tuple[Frame, ...]:
    for index, frame in enumerate(frames[:_HANDLER_DEPTH]):
        if rip is not None and address_of(frame) == rip:
            return frames[index:]
    ends = [index for index, frame in enumerate(frames[:_HANDLER_DEPTH]) if frame.function in _HANDLER]
    if not ends:
        return frames
    start = ends[-1] + 1
    if start < len(frames) and frames[ends[-1]].function == _HANDLER[0] and _is_return_stub(frames[start]):
        start += 1
    return frames[start:]


def _is_return_stub(frame: Frame) -> bool:
    unnamed_libc = bool(_BARE_ADDRESS.fullmatch(frame.function)) and "libc" in (frame.module or "")
    return frame.language == "native" and (frame.function in _RETURN_STUB or unnamed_libc)


def threads_json(evidence: Evidence, scene: Scene, scrub: Scrub, gaps: Gaps) -> list[dict[str, Any]]:
    """The report's `threads`, the crashed one first."""
    ordered = sorted(evidence.threads, key=lambda thread: not thread.crashed)
    if len(ordered) > THREADS_KEPT:
        gaps.add("threads", f"{len(ordered) - THREADS_KEPT} of {len(ordered)} threads were left out to bound the size")
    ordered = ordered[:THREADS_KEPT]
    most = FRAMES_KEPT
    if sum(min(len(thread.frames), FRAMES_KEPT) for thread in ordered) > scene.allowance.frames:
        most = max(_FEWEST_FRAMES, scene.allowance.frames // len(ordered))
    shown = [_thread_json(t, evidence, scene, scrub, FRAMES_KEPT if t.crashed else most) for t in ordered]
    cut = sum(thread.get("framesCut", 0) for thread in shown)
    if cut:
        gaps.add("threads.frames", f"{cut} frames of very deep stacks were left out (framesCut says where)")
    if scene.allowance.locals_refused:
        gaps.add("locals", f"{scene.allowance.locals_refused} local variables were left out to bound the size")
    return shown


def _thread_json(thread: Thread, evidence: Evidence, scene: Scene, scrub: Scrub, most: int) -> dict[str, Any]:
    frames, cut = frames_json(crash_frames(thread, evidence, scene), scene, scrub, most)
    shown: dict[str, Any] = {
        "threadId": thread.thread_id,
        "name": scrub.text(thread.name, _NAME_LIMIT) if thread.name else None,
        "crashed": thread.crashed,
        "holdsGil": thread.holds_gil,
        "state": scrub.text(thread.state, 64) if thread.state and not _seems_idle(thread) else None,
        "frames": frames,
    }
    if cut:
        shown["framesCut"] = cut
    if thread.waiting:
        shown["waiting"] = waiting_json(thread.waiting, scrub)
    return shown


def _seems_idle(thread: Thread) -> bool:
    """A crashed thread stands in the handler that waits for our look, which tells nothing of what it did."""
    return thread.crashed and thread.state == "idle"


def waiting_json(wait: Wait, scrub: Scrub) -> dict[str, Any]:
    """The report's `{kind, what, timed, resource?, heldBy?, proof?}`."""
    shown: dict[str, Any] = {"kind": wait.kind, "what": scrub.text(wait.what, _NAME_LIMIT), "timed": wait.timed}
    if wait.resource:
        shown["resource"] = scrub.text(wait.resource, _NAME_LIMIT)
    if wait.holder is not None:
        shown |= {"heldBy": wait.holder, "proof": scrub.text(wait.proof, _NAME_LIMIT)}
    return shown


def exception_json(seen: ExceptionSeen, scene: Scene, scrub: Scrub, depth: int = 0) -> dict[str, Any]:
    """The report's exception with its chain; chains and groups are bounded."""
    frames, cut = frames_json(seen.frames, scene, scrub)
    shown: dict[str, Any] = {
        "type": scrub.text(seen.type, _NAME_LIMIT),
        "module": scrub.text(seen.module, _NAME_LIMIT) if seen.module else None,
        "message": scrub.text(seen.message),
        "frames": frames,
    }
    if cut:
        shown["framesCut"] = cut
    if seen.notes:
        shown["notes"] = [scrub.text(note, 1024) for note in seen.notes[:_GROUP_KEPT]]
    if depth < _CHAIN_KEPT:
        if seen.cause is not None:
            shown["cause"] = exception_json(seen.cause, scene, scrub, depth + 1)
        if seen.context is not None and seen.context is not seen.cause:
            shown["context"] = exception_json(seen.context, scene, scrub, depth + 1)
        if seen.exceptions:
            parts = seen.exceptions[:_GROUP_KEPT]
            shown["exceptions"] = [exception_json(part, scene, scrub, depth + 1) for part in parts]
    return shown


def leading_thread(threads: Sequence[dict[str, Any]], pid: int) -> dict[str, Any] | None:
    """The thread a reader looks at first: the crashed one, else the main thread, else the first."""
    for thread in threads:
        if thread["crashed"]:
            return thread
    for thread in threads:
        if thread["threadId"] == pid:
            return thread
    return threads[0] if threads else None


def python_stack(
    message: str, exception: dict[str, Any] | None, thread: dict[str, Any] | None, gaps: Gaps
) -> dict[str, Any]:
    """`pythonStack`: the exception's frames, else the Python frames of the leading thread."""
    frames = exception["frames"] if exception else (thread["frames"] if thread else [])
    frames = [dict(frame) for frame in frames if frame["language"] == "python"]
    if not frames:
        gaps.add("pythonStack", "no Python frame was seen")
    return {"message": message, "stack": [_line(frame) for frame in frames], "frames": frames}


def _line(frame: dict[str, Any]) -> str:
    place = frame["file"] or "unknown"
    return f"at {frame['function']} ({place}:{frame['line']})" if frame["line"] else f"at {frame['function']} ({place})"


def native_stack(thread: dict[str, Any] | None, gaps: Gaps) -> list[dict[str, str]]:
    """`nativeStack`: Node's `{pc, symbol}` of the leading thread's native frames."""
    frames = [frame for frame in thread["frames"] if frame["language"] == "native"] if thread else []
    if not frames:
        gaps.add("nativeStack", "no native frame was read")
    return [
        {"pc": frame.get("address", ""), "symbol": f"{frame['function']} [{frame['module'] or '?'}]"}
        for frame in frames
    ]
