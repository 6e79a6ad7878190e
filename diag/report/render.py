"""The report as a page in a terminal: the answer first, then what it rests on."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from diag.report.last_look import place_of
from diag.report.reading import (
    Json,
    chain,
    crashed_thread,
    describe,
    duration,
    request_of,
    same_stack,
    size,
)
from diag.report.render_words import by_reason, cgroup, folded, frame_place, runtime, thread_name, work
from diag.report.title import title
from diag.report.visible import visible_report

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_TRAPS = {0: "divide error", 6: "invalid opcode", 13: "general protection", 14: "page fault", 17: "alignment check"}
_FRAMES_SHOWN = 40
_THREADS_SHOWN = 12
_STDERR_LINES = 12
_MAPPINGS_SHOWN = 5
_REGISTER_ORDER = "rip rsp rbp rax rbx rcx rdx rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 eflags".split()  # noqa: SIM905
_TONES = {"alive": "green", "stopped": "cyan"}


def render(report: Json, *, color: bool, width: int, all_threads: bool = False) -> str:
    """The report as text for a terminal of this width; `all_threads` unfolds every thread and shows all frames."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out, width=max(40, width), force_terminal=color, color_system="standard" if color else None,
        no_color=not color, highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    page = _Page(console, visible_report(report), all_threads)
    page.show()
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


class _Page:
    """The sections in reading order; each is left out where the report has nothing for it."""

    def __init__(self, console: Console, report: Json, all_threads: bool) -> None:
        self.console = console
        self.report = report
        self.all_threads = all_threads

    def show(self) -> None:
        """Print every section that has something to say."""
        self._answer()
        self._identity()
        self._exception()
        self._signal()
        self._crashed()
        self._hang()
        self._others()
        self._tasks()
        self._workers()
        self._requests()
        self._last_look()
        self._resources()
        self._stderr()
        self._gaps()

    def _answer(self) -> None:
        verdict = self.report["verdict"]
        tone = _TONES.get(verdict["cause"], "red")
        self.console.print()
        self._indented(text_of((title(self.report), f"bold {tone}")))
        self.console.print()
        self._indented(text_of(verdict["sentence"]))
        evidence = " ".join(map(_sentence, verdict["evidence"]))
        self._indented(text_of((f"Confidence {verdict['confidence']}. {evidence}".rstrip(), "dim")))

    def _identity(self) -> None:
        report, instance = self.report, self.report["instance"]
        uptime = report["resourceUsage"].get("uptimeSeconds")
        up = f", up {duration(uptime)}" if uptime is not None else ""
        rows = [
            ("instance", f"{instance['name']} · {instance['host']} · pid {instance['pid']}{up}"),
            ("service", instance["service"] if instance["service"] != instance["name"] else ""),
            ("runtime", runtime(report)),
            ("labels", ", ".join(f"{key}={value}" for key, value in instance["labels"].items())),
            ("parent", f"pid {instance['parent'].get('pid')}" if instance["parent"] else ""),
            ("time", report["header"]["dumpEventTime"].replace("T", " ")),
            ("ended", report["exit"]["reason"] if report["exit"]["reason"] != "alive" else ""),
            *self._links(),
            ("capture", report["captureId"]),
            ("group", report["fingerprint"]),
            ("command", " ".join(report["header"]["commandLine"])),
        ]
        self.console.print()
        self._rows(rows)

    def _links(self) -> Iterable[tuple[str, str]]:
        request = request_of(self.report)
        if request is not None:
            yield "request", f"{describe(request)}, begun {duration(request['age_s'])} before"
        for link in self.report["links"][:5]:
            if request is None and link["request_id"]:
                yield "request", link["request_id"]
            if link["trace_id"]:
                yield "trace", link["trace_id"] + (f" · span {link['span_id']}" if link["span_id"] else "")

    def _exception(self) -> None:
        exception = self.report["exception"]
        if exception is None:
            return
        self._heading("exception")
        for index, raised in enumerate(chain(exception)):
            if index:
                self._indented(text_of(("caused by", "dim")))
            self._indented(_raised(raised))
            self._frames(raised, folded=index > 0)
        context = exception.get("context")
        if context is not None and "cause" not in exception:
            self._indented(text_of(("while handling", "dim")))
            self._indented(_raised(context))
        for part in exception.get("exceptions", ())[:10]:
            self._indented(text_of(("├ ", "dim"), *_raised_parts(part)))

    def _signal(self) -> None:
        signal = self.report["signal"]
        if signal is None or signal["threadId"] is None:
            return
        self._heading("signal")
        trap = signal["trapNumber"]
        words = [f"{signal['name']} ({signal['number']})"]
        words += [f"trap {trap}, {_TRAPS[trap]}"] if trap in _TRAPS and not signal["sent"] else []
        words += ["sent by a program"] if signal["sent"] else []
        mapping = f" ({signal['faultMapping']})" if signal.get("faultMapping") else ""
        words += [f"at address {signal['faultAddress']}{mapping}"] if signal["faultAddress"] else []
        self._indented(text_of(" · ".join(words)))
        self._registers(signal["registers"])

    def _registers(self, registers: Json) -> None:
        names = [name for name in _REGISTER_ORDER if name in registers]
        names += [name for name in registers if name not in names]
        cells = [f"{name:<6} {registers[name]}" for name in names]
        columns = max(1, (self.console.width - 2) // 28)
        for at in range(0, len(cells), columns):
            self._indented(text_of(("   ".join(cells[at : at + columns]), "dim")))

    def _crashed(self) -> None:
        thread = crashed_thread(self.report)
        if thread is not None and self._leads(thread):
            self._heading(*thread_name(thread))
            self._frames(thread)

    def _leads(self, thread: Json) -> bool:
        """Whether this thread has a section of its own; beside an exception only where it adds something to that."""
        exception = self.report["exception"]
        if exception is None:
            return thread is crashed_thread(self.report)
        return bool(thread["crashed"]) and not same_stack(thread["frames"], exception["frames"])

    def _others(self) -> None:
        exception = self.report["exception"]
        said = exception["frames"] if exception else None
        others = [
            t
            for t in self.report["threads"]
            if not self._leads(t) and (said is None or not same_stack(t["frames"], said))
        ]
        first = len(others) < len(self.report["threads"])
        if not others:
            return
        if self.all_threads:
            for thread in others:
                self._heading(*thread_name(thread))
                self._frames(thread)
            return
        self._heading(f"{len(others)} {'other ' if first else ''}thread{'s' if len(others) > 1 else ''}")
        rows = [(str(thread["threadId"]), folded(thread)) for thread in others[:_THREADS_SHOWN]]
        self._rows(rows)
        if len(others) > _THREADS_SHOWN:
            self._indented(text_of((f"… {len(others) - _THREADS_SHOWN} more with --all", "dim")))

    def _tasks(self) -> None:
        from diag.report.stacks_reading import loops_of
        from diag.report.stacks_render import show_loop

        loops, stacks = loops_of(self.report)
        for loop in loops:
            show_loop(self.console, loop, stacks, everything=self.all_threads)

    def _workers(self) -> None:
        workers = self.report["workers"]
        if not workers:
            return
        self._heading("other processes")
        for worker in workers if self.all_threads else workers[:_THREADS_SHOWN]:
            self._rows([(str(worker["header"]["processId"]), work(worker))])
            if self.all_threads:
                self._frames(crashed_thread(worker) or {"frames": []})
        if len(workers) > _THREADS_SHOWN and not self.all_threads:
            self._indented(text_of((f"… {len(workers) - _THREADS_SHOWN} more with --all", "dim")))

    def _requests(self) -> None:
        requests = self.report["requests"]
        if not requests or (len(requests) == 1 and request_of(self.report) == requests[0]):
            return
        self._heading("requests in flight")
        for request in requests[:20]:
            self._indented(text_of(f"{describe(request)} for {duration(request['age_s'])}"))

    def _last_look(self) -> None:
        look = self.report.get("lastLook")  # older reports have none
        if look is None:
            return
        before = f"{duration(look['before_s'])} before the end"
        self._heading("memory", f"{before} · {size(look['used'])} of {size(look['limit'])} in use")
        self._rows((size(row["rss"]), place_of(row)) for row in look["mappings"][:_MAPPINGS_SHOWN])
        self._rows((size(row["bytes"]), f"{row['name']} ×{row['count']:,}") for row in look["types"])

    def _hang(self) -> None:
        hang = self.report.get("hang")  # older reports have none
        if not hang or not hang["stacks"]:
            return
        from diag.report.stacks_reading import read
        from diag.report.stacks_render import show_moves

        view = read(hang["stacks"])
        for process in view.processes:
            show_moves(self.console, view, process, everything=self.all_threads)

    def _resources(self) -> None:
        usage = self.report["resourceUsage"]
        if not usage:
            return
        self._heading("resources")
        peak = f", peak {size(usage['maxRss'])}" if usage["maxRss"] is not None else ""
        limit = f" of {size(usage['constrained_memory'])}" if usage["constrained_memory"] is not None else ""
        rows = [("memory", f"{size(usage['rss'])}{limit}{peak}" if usage["rss"] is not None else "")]
        if usage["userCpuSeconds"] is not None and usage["kernelCpuSeconds"] is not None:
            percent = usage["cpuConsumptionPercent"]
            share = f" ({percent:.1f} % of a core)" if percent is not None else ""
            rows.append(
                ("cpu", f"{usage['userCpuSeconds']:.2f} s user, {usage['kernelCpuSeconds']:.2f} s system{share}")
            )
        files = self.report["userLimits"].get("open_files", {}).get("soft", "unlimited")
        rows.append(("files", f"{usage['openFiles']} open of {files}" if usage["openFiles"] is not None else ""))
        rows.append(("cgroup", cgroup(self.report["cgroup"])))
        self._rows(rows)

    def _stderr(self) -> None:
        lines = self.report["stderrTail"].rstrip().splitlines()
        if not lines:
            return
        self._heading("stderr, last lines")
        for line in lines if self.all_threads else lines[-_STDERR_LINES:]:
            self._indented(text_of((line, "dim")))

    def _gaps(self) -> None:
        if self.report["incomplete"]:
            self._heading("not in this report")
            for reason, sections in by_reason(self.report["incomplete"]).items():
                self._indented(text_of(f"{', '.join(sections)}: ", (reason, "dim")))
        if self.report["redactions"]:
            self._heading("redacted")
            self._indented(
                text_of(", ".join(f"{entry['rule']} ×{entry['count']}" for entry in self.report["redactions"]))
            )
        cost = self.report["cost"]
        self.console.print()
        spent = f"Stood still {duration(cost['pause_s'])}, report took {duration(cost['duration_s'])}."
        self._indented(text_of((spent, "dim")))

    def _frames(self, holder: Json, folded: bool = False) -> None:
        frames = holder["frames"]
        shown = frames if self.all_threads else frames[: 5 if folded else _FRAMES_SHOWN]
        table = _frame_table()
        for frame in shown:
            style = "bold" if frame["inApp"] else "dim"
            where = frame_place(frame, self.report["header"]["cwd"])
            table.add_row(
                text_of(("▸" if frame["inApp"] else " ", "bold")),
                text_of((frame["function"], style)),
                text_of((where, style)),
            )
            if "source" in frame:
                self._indented(table)  # lines of source take the whole width
                self._source(frame)
                table = _frame_table()
            for name, value in frame.get("locals", {}).items():
                table.add_row("", text_of((f"  {name}", "dim")), text_of((value, "dim")))
        if table.row_count:
            self._indented(table)
        left_out = len(frames) - len(shown) + holder.get("framesCut", 0)
        if left_out:
            more = "" if self.all_threads else " (--all shows what the report has)"
            self._indented(text_of((f"… {left_out} more frames{more}", "dim")))

    def _source(self, frame: Json) -> None:
        """The lines around the frame's, its own marked."""
        told = frame["source"]
        for number, line in enumerate(told["lines"], told["first"]):
            here = number == frame["line"]
            self._indented(text_of((f"   {'▸' if here else ' '}{number:>5}  ", "dim"), (line, "" if here else "dim")))
        if told["changed"]:
            self._indented(text_of(("    the file was changed after the process had started", "yellow")))

    def _rows(self, rows: Iterable[tuple[str, str]]) -> None:
        from rich.table import Table

        kept = [(name, value) for name, value in rows if value]
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(max_width=28, overflow="fold")
        table.add_column(ratio=1, overflow="fold")
        for name, value in kept:
            table.add_row(text_of((f"{name:<8}", "dim")), text_of(value))
        if kept:
            self._indented(table)

    def _heading(self, words: str, detail: str = "") -> None:
        self.console.print()
        self._indented(text_of((words.upper(), "bold"), f"  {detail}" if detail else ""))

    def _indented(self, content: RenderableType) -> None:
        indented(self.console, content)


def indented(console: Console, content: RenderableType) -> None:
    """Print it two columns from the edge, where all of a page stands."""
    from rich.padding import Padding

    console.print(Padding(content, (0, 0, 0, 2)))


def text_of(*parts: str | tuple[str, str]) -> Text:
    """Text in styles, folded where it is too long."""
    from rich.text import Text

    return Text.assemble(*parts, overflow="fold")


def _frame_table() -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=1)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    return table


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else ""


def _raised_parts(exception: Json) -> tuple[Any, ...]:
    message = f": {exception['message']}" if exception["message"] else ""
    return ((exception["type"], "bold"), message)


def _raised(exception: Json) -> Text:
    notes = "".join(f"\n{note}" for note in exception.get("notes", ()))
    return text_of(*_raised_parts(exception), notes)
