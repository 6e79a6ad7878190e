"""Stacks as a page shows them: frames typed and bounded, long runs of library frames folded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diag.report.standing import doing
from diag_server import hostile
from diag_server.entries import exceptions

# What says only where Python is installed.
_INSTALLED = re.compile(r"^.*/(?:site-packages|dist-packages|lib/python\d[\d.]*)/")
FRAMES_LIMIT = 400
THREADS_LIMIT = 1000
SOURCE_LIMIT = 41
ALWAYS_OPEN = 4  # the innermost frames tell what was being done, whoever wrote them
FOLD_FROM = 4  # shorter runs of library frames stay: opening them would cost more than reading them


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `number` counts from the innermost, 0."""

    number: int
    function: str
    file: str
    line: int | None
    module: str
    language: str
    in_app: bool
    locals: tuple[tuple[str, str], ...] = ()
    address: str = ""
    build_id: str = ""
    source: tuple[tuple[int, str], ...] = ()  # lines with their numbers
    source_changed: bool = False

    @property
    def shown_place(self) -> str:
        """Where its code stands: the whole path of the application's code, the telling end of a library's."""
        place = self.file or self.module
        if not self.in_app:
            place = _INSTALLED.sub("", place) if self.language == "python" else place.rpartition("/")[2]
        return f"{place}:{self.line}" if self.line else place


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring frames, shown or folded."""

    frames: tuple[Frame, ...]
    folded: bool

    @property
    def owners(self) -> str:
        """The packages or libraries that the frames belong to, for the line that stands in their place."""
        names = (
            frame.module.rpartition("/")[2] if frame.language == "native" else _package(frame) for frame in self.frames
        )
        unique = [name for name in dict.fromkeys(names) if name]
        return ", ".join(unique[:4]) + (", …" if len(unique) > 4 else "")


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread and its stack."""

    thread_id: str
    name: str
    crashed: bool
    holds_gil: bool
    state: str
    runs: tuple[Run, ...]
    top: Frame | None
    frames: int
    cut: int


@dataclass(frozen=True, slots=True)
class Raised:
    """One exception of a chain or group; `relation` says how it belongs to the one before it."""

    relation: str
    type: str
    message: str
    notes: tuple[str, ...]
    runs: tuple[Run, ...]
    cut: int


RELATIONS = {"cause": "caused by", "context": "raised while handling", "member": "one of the group"}


def threads(report: Mapping[str, Any]) -> list[Thread]:
    """The report's threads: those that crashed first, then the main thread, whose id is the process's."""
    found = [_thread(thread) for thread in list(hostile.mappings(report.get("threads")))[:THREADS_LIMIT]]
    main = hostile.text(hostile.mapping(report.get("header")).get("processId"), 40)
    return sorted(found, key=lambda thread: (not thread.crashed, thread.thread_id != main))


def raised(report: Mapping[str, Any]) -> list[Raised]:
    """The exception and its chain, the one that ended it first."""
    return [_raised(relation, one) for relation, one in exceptions(report)]


def frames(value: Any) -> list[Frame]:
    """A report's list of frames, innermost first."""
    found = list(hostile.mappings(value))[:FRAMES_LIMIT]
    return [_frame(number, one) for number, one in enumerate(found)]


def sites(shown: tuple[Run, ...]) -> list[tuple[str, str, int | None, str]]:
    """Which frames these are, whatever else is known of them."""
    return [(one.function, one.file, one.line, one.address) for run in shown for one in run.frames]


def runs(stack: list[Frame]) -> tuple[Run, ...]:
    """The stack with long runs of library frames folded, except the innermost; one with no own frames stays open."""
    if not any(frame.in_app for frame in stack):
        return tuple(_halves(stack))
    return tuple(_runs(stack))


def _halves(stack: list[Frame]) -> Iterator[Run]:
    yield from _open(stack[:30])
    if len(stack) > 30:
        yield Run(tuple(stack[30:]), folded=True)


def _runs(stack: list[Frame]) -> Iterator[Run]:
    shown: list[Frame] = stack[:ALWAYS_OPEN]
    library: list[Frame] = []
    for frame in [*stack[ALWAYS_OPEN:], None]:
        if frame is not None and not frame.in_app:
            library.append(frame)
            continue
        if len(library) < FOLD_FROM:
            shown += library
        else:
            yield from _open(shown)
            yield Run(tuple(library), folded=True)
            shown = []
        library = []
        shown += [frame] if frame else []
    yield from _open(shown)


def _open(shown: list[Frame]) -> Iterator[Run]:
    if shown:
        yield Run(tuple(shown), folded=False)


def _frame(number: int, frame: Mapping[str, Any]) -> Frame:
    return Frame(
        number=number,
        function=hostile.text(frame.get("function"), 1000) or "?",
        file=hostile.text(frame.get("file"), 1000),
        line=hostile.whole(frame.get("line")),
        module=hostile.text(frame.get("module"), 1000),
        language=hostile.text(frame.get("language"), 20) or "python",
        in_app=frame.get("inApp") is True,
        locals=tuple((k, hostile.text(v, 2000)) for k, v in list(hostile.mapping(frame.get("locals")).items())[:200]),
        address=hostile.text(frame.get("address"), 40),
        build_id=hostile.text(frame.get("buildId"), 80),
        source=_source(hostile.mapping(frame.get("source"))),
        source_changed=hostile.mapping(frame.get("source")).get("changed") is True,
    )


def _source(told: Mapping[str, Any]) -> tuple[tuple[int, str], ...]:
    first = hostile.whole(told.get("first"))
    lines = hostile.items(told.get("lines"))[:SOURCE_LIMIT] if first is not None else []
    return tuple((number, hostile.text(line, 1000)) for number, line in enumerate(lines, first or 0))


def _thread(thread: Mapping[str, Any]) -> Thread:
    stack = frames(thread.get("frames"))
    return Thread(
        thread_id=hostile.text(thread.get("threadId"), 40),
        name=hostile.text(thread.get("name"), 200),
        crashed=thread.get("crashed") is True,
        holds_gil=thread.get("holdsGil") is True,
        state=hostile.text(doing(thread), 200),
        runs=runs(stack),
        top=next((frame for frame in stack if frame.in_app), stack[0] if stack else None),
        frames=len(stack),
        cut=hostile.whole(thread.get("framesCut")) or 0,
    )


def _raised(relation: str, one: Mapping[str, Any]) -> Raised:
    module, name = hostile.text(one.get("module"), 500), hostile.text(one.get("type"), 500) or "exception"
    named = name if module in ("", "builtins", "__main__") or name.startswith(module) else f"{module}.{name}"
    return Raised(
        relation=RELATIONS.get(relation, ""),
        type=named,
        message=hostile.text(one.get("message")),
        notes=tuple(hostile.text(note, 2000) for note in hostile.items(one.get("notes"))[:50]),
        runs=runs(frames(one.get("frames"))),
        cut=hostile.whole(one.get("framesCut")) or 0,
    )


def _package(frame: Frame) -> str:
    """`flask` for `…/site-packages/flask/app.py` or a module `flask.app`."""
    if frame.module and "/" not in frame.module:
        return frame.module.partition(".")[0]
    inside = frame.file.replace("/dist-packages/", "/site-packages/").partition("/site-packages/")[2]
    return inside.partition("/")[0].removesuffix(".py") or frame.file.rpartition("/")[2]
