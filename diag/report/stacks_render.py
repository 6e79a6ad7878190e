"""Stacks as a page in a terminal: who waits for whom first, then who runs, then everybody else in groups."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diag.report.reading import duration
from diag.report.render import indented, text_of
from diag.report.render_words import frame_place
from diag.report.stacks_view import Group, Loop, Process, Ring, Row, Serving, StacksView
from diag.report.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_FRAMES_SHOWN = 8
_GROUPS_SHOWN = 20
_TASKS_SHOWN = 40
_IDS_SHOWN = 8
_TONES = {"deadlock": "red", "alive": "green"}


def render(view: StacksView, *, color: bool, width: int, everything: bool = False) -> str:
    """The view as text for a terminal of this width; `everything` shows all groups with all frames."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out, width=max(40, width), force_terminal=color, color_system="standard" if color else None,
        no_color=not color, highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    _Page(console, view, everything).show()
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


class _Page:
    """The verdict, then process by process."""

    def __init__(self, console: Console, view: StacksView, everything: bool) -> None:
        self.console = console
        self.view = view
        self.everything = everything

    def show(self) -> None:
        """Print all that there is."""
        self.console.print()
        self._line((self.view.sentence, f"bold {_TONES.get(self.view.cause, '')}"))
        for ring in self.view.rings:
            self._ring(ring)
        for process in self.view.processes:
            self._process(process)
        self.console.print()

    def _ring(self, ring: Ring) -> None:
        from rich.table import Table

        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=2)
        table.add_column(overflow="fold")
        for number, member in enumerate(ring.members):
            words = _safe((member.name, "bold"), f" {member.what}", (f"  {member.where}", "dim"))
            table.add_row(text_of(("│ " if number else "╭▸", "red")), words)
            if member.proof:
                table.add_row(text_of(("│ ", "red")), _safe((member.proof, "dim")))
        table.add_row(text_of(("╰─", "red")), _safe("which the first of them has to let go of"))
        if ring.waiting:
            table.add_row("", _safe(f"for them wait: {', '.join(ring.waiting)}"))
        self.console.print()
        indented(self.console, table)

    def _process(self, process: Process) -> None:
        self.console.print()
        head = f"1 {process.unit}"
        if process.threads != 1:
            head = f"{process.threads} {process.unit}s in {len(process.groups)} group{'s' * (len(process.groups) > 1)}"
        self._line((f"PID {process.pid}", "bold"), f"  {head}", (f"  {process.command}", "dim"))
        shown = process.groups if self.everything else process.groups[:_GROUPS_SHOWN]
        for group in shown:
            self._group(group, process)
        if len(shown) < len(process.groups):
            self._line((f"… {len(process.groups) - len(shown)} more groups with --all", "dim"))
        for loop in process.loops:
            show_loop(self.console, loop, self.view.stacks, everything=self.everything)
        show_moves(self.console, self.view, process, everything=self.everything)

    def _group(self, group: Group, process: Process) -> None:
        first = group.first
        self.console.print()
        named = _names(group.rows, process.unit)
        marks = ["holds the GIL"] if first.holds_gil else []
        held = f", held by {first.held_by}" if first.held_by else ""
        words = f"{group.words}{held}" if not first.running else "running"
        tone = "bold green" if first.running else "bold red" if first.held_by else "bold"
        self._line((named, tone), "  ", (" · ".join([words, *marks]), "" if first.running or first.held_by else "dim"))
        for row in group.rows:
            for request in row.requests:
                self._line("  serves ", _request(request))
        self._frames(self.view.stacks[first.stack], process.working_directory, first.cut)

    def _frames(self, frames: Sequence[Mapping[str, Any]], home: str, cut: int) -> None:
        from rich.table import Table

        shown = list(frames) if self.everything else _telling(frames)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=3)
        table.add_column(ratio=1, overflow="fold")
        table.add_column(ratio=1, overflow="fold")
        for frame in shown:
            style = "bold" if frame.get("inApp") else "dim"
            mark = "▸" if frame.get("inApp") else " "
            place = visible(frame_place(frame, home))
            function = visible(str(frame["function"]))
            table.add_row(text_of((f"  {mark}", "bold")), text_of((function, style)), text_of((place, style)))
            for name, value in frame.get("locals", {}).items():
                table.add_row("", text_of((f"  {visible(name)}", "dim")), text_of((visible(str(value)), "dim")))
        if shown:
            indented(self.console, table)
        left = len(frames) - len(shown) + cut
        if left:
            self._line((f"    … {left} more frames{'' if self.everything else ' (--all shows them)'}", "dim"))

    def _line(self, *parts: str | tuple[str, str]) -> None:
        _line(self.console, *parts)


def show_moves(console: Console, view: StacksView, process: Process, *, everything: bool) -> None:
    """Print what moved from look to look, and what did not; nothing of one look."""
    if not process.moves:
        return
    console.print()
    _line(console, (f"{len(view.times)} LOOKS", "bold"), f"  in {duration(view.seconds)}")
    moved = [one for one in process.moves if not one.still]
    for one in moved if everything else moved[:_GROUPS_SHOWN]:
        tops = " → ".join(_top(view, number) for number in one.stacks)
        _line(console, (one.row.name or one.row.id, "bold green"), f"  {one.words}  ", (tops, "dim"))
    for running in (True, False):
        still = [one for one in process.moves if one.still and one.row.running is running]
        if still:
            words = f"{still[0].words}, {duration(view.seconds)}{', and running' if running else ''}"
            named = _names([one.row for one in still], process.unit)
            _line(console, (named, "bold green" if running else "bold"), f"  {words}")


def _top(view: StacksView, number: int | None) -> str:
    frame = _own(view.stacks[number] if number is not None else ())
    return f"{frame['function']}:{frame.get('line') or ''}".rstrip(":") if frame else "–"


def show_loop(console: Console, loop: Loop, stacks: Sequence[Sequence[Mapping[str, Any]]], *, everything: bool) -> None:
    """Print an event loop and its tasks as a tree; `everything` shows all of them."""
    console.print()
    _line(console, (f"{loop.tasks} TASK{'S' if loop.tasks != 1 else ''}", "bold"), f"  {loop.words}")
    shown = loop.branches if everything else loop.branches[:_TASKS_SHOWN]
    for branch in shown:
        row = branch.row
        held = f", held by {row.held_by}" if row.held_by else ""
        frame = _own(stacks[row.stack])
        place = f"  {frame['function']} ({frame_place(frame, '').rpartition('/')[2]})" if frame else ""
        tone = "bold green" if row.running else "bold"
        stem = "  " * branch.depth + ("└ " if branch.depth else "")
        _line(console, stem, (row.name, tone), f"  {'running' if row.running else row.words}{held}", (place, "dim"))
    left = loop.tasks - len(shown) + loop.cut
    if left:
        _line(console, (f"… {left} more tasks{'' if everything else ' with --all'}", "dim"))


def _line(console: Console, *parts: str | tuple[str, str]) -> None:
    indented(console, _safe(*parts))


def _safe(*parts: str | tuple[str, str]) -> Text:
    """Text that no terminal obeys, in styles."""
    safe = [visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts]
    return text_of(*safe)


def _names(rows: Sequence[Row], unit: str) -> str:
    """`worker-3 (4711)`, or `500 threads: pool-0, pool-1, …`."""
    if len(rows) == 1:
        row = rows[0]
        return row.name if row.id in row.name else f"{row.name} ({row.id})" if row.name else f"{unit} {row.id}"
    listed = [row.name.removeprefix(f"{unit} ") or row.id for row in rows[:_IDS_SHOWN]]
    return f"{len(rows)} {unit}s: {', '.join(listed)}{', …' if len(rows) > len(listed) else ''}"


def _telling(frames: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The innermost frames, as far as it takes to see the application's own."""
    first = next((number for number, frame in enumerate(frames) if frame.get("inApp")), 0)
    return list(frames[: max(_FRAMES_SHOWN, first + 3)])


def _own(frames: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((frame for frame in frames if frame.get("inApp")), frames[0] if frames else None)


def _request(request: Serving) -> str:
    words = " ".join(filter(None, (request.method, request.path))) or "a request"
    named = request.request_id or request.trace_id
    return f"{words}{f' (request {named})' if named else ''} for {duration(request.age_s)}"
