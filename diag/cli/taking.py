"""What the commands that capture on demand share: the subject, the engine, the wait, and what is said at the end."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from diag.agent import blackbox, registry
from diag.agent.blackbox import Box
from diag.agent.registry import Target
from diag.capture import reports
from diag.capture.take import During, Refined, Taken
from diag.cli import family
from diag.collectors import collector as collectors
from diag.collectors.collector import Collected, Collector, Subject, Watch
from diag.collectors.proc import check_attachable, read_process
from diag.collectors.runtime import runtime_of
from diag.collectors.threads import standing
from diag.config import Settings
from diag.errors import DiagError, NoSuchInstance, WrongEngine, WrongRuntime
from diag.evidence import Witness
from diag.model import Instance, stamp
from diag.report.visible import visible

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BEHIND = 5  # of niceness: a third of what others get, where there is not enough for all
PAGE_AT = "http://127.0.0.1:8321"  # where `diag serve` listens when nothing else is said


def subject_of(target: Target) -> Subject:
    """The target's process as collectors see it. Raises NoSuchInstance, CannotAttach."""
    try:
        facts, _ = read_process(target.pid)
    except NoSuchInstance:
        check_attachable(target.pid)  # hidden, rather than gone?
        raise
    runtime = runtime_of(target.pid)
    if not runtime:
        check_attachable(target.pid)  # of unknown make, or only closed to this user?
    instance = Instance(
        service=target.service,
        name=target.name,
        instance_id=target.instance_id,
        host=target.host or os.uname().nodename,
        pid=target.pid,
        start_time=stamp(facts.start_time),
        runtime=runtime,
        labels=target.labels,
    )
    held, prefix = standing(facts), _prefix(target)
    return Subject(instance, target.pid, target.start_ticks, runtime, held, target.run_dir, prefix)


def _prefix(target: Target) -> str:
    path = registry.black_box(target.run_dir, target.pid)
    box = Box.open(path) if path else None
    return str(box.header().get("prefix") or "") if box else ""


def choose(kind: str, engine: str, asked: Any, subject: Subject) -> tuple[Collector, str]:
    """The engine that was named, or the first that works, and in words why. Raises what the named one refuses with.

    Where none works, the refusal of each is told.
    """
    if engine != "auto":
        named = collectors.collector(kind, engine)(asked)
        return named, f"{engine}, as you said: {named.check(subject)}"
    refused: list[tuple[str, DiagError]] = []
    for name in collectors.COLLECTORS[kind]:
        candidate = collectors.collector(kind, name)(asked)
        try:
            words = candidate.check(subject)
        except NoSuchInstance:
            raise
        except DiagError as error:
            refused.append((name, error))
            continue
        return candidate, f"{name}: {words}"
    raise _none(kind, subject, refused)


def _none(kind: str, subject: Subject, refused: Sequence[tuple[str, DiagError]]) -> DiagError:
    fitting = [(name, error) for name, error in refused if not isinstance(error, WrongEngine)]
    if not fitting:
        made_of = subject.runtime or "of a kind that could not be told"
        near = [(name, error) for name, error in refused if not isinstance(error, WrongRuntime)] or refused
        reasons = "\n".join(f"{name}: {_why_not(error)}" for name, error in near)
        return WrongEngine(f"No engine takes a {kind} like this of process {subject.pid}, which is {made_of}.", reasons)
    error = fitting[0][1]
    others = [f"{name}: {other}" for name, other in fitting[1:] if str(other) != str(error)]
    error.help_text = "\n".join(filter(None, (error.help_text, *others)))
    return error


def _why_not(error: DiagError) -> str:
    """The refusal with its own advice; that of its class speaks of an engine that was named."""
    return str(error) if error.help_text == type(error).help_text else f"{error} {error.help_text}"


def witness(target: Target, whole: bool) -> Witness | None:
    """What the black box of its process, or those of the whole instance, say of requests."""
    pids = [target.pid]
    if whole and target.run_dir is not None:
        pids += [process.pid for process, level in family.read().members(target) if level]
    boxes = filter(None, (registry.black_box(target.run_dir, pid) for pid in pids))
    found = [seen for seen in map(blackbox.read, boxes) if seen]
    if not found:
        return None
    in_flight = tuple(request for one in found for request in one.in_flight)
    return Witness(in_flight, tuple(request for one in found for request in one.finished))


def politely(refine: Callable[[Collected, During], Refined]) -> Callable[[Collected, During], Refined]:
    """The same with a lower priority: what was captured is read while the target goes on with its work."""

    def refine_behind(collected: Collected, during: During) -> Refined:
        os.nice(BEHIND)
        return refine(collected, during)

    return refine_behind


@contextmanager
def watching(label: str) -> Iterator[Watch]:
    """A watch with a progress bar, where stderr is a terminal.

    What asks diag to end ends the capture early and keeps it: the first Ctrl-C, SIGTERM, or a terminal that is closed.
    """
    with _bar(label) as progress:
        watch = Watch(progress)

        def enough(number: int, _frame: object) -> None:
            restore()  # the second one is meant for us
            watch.stop.set()
            if number == signal.SIGHUP:
                _leave_terminal()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        # Under nohup(1) a hangup is ignored, and stays so.
        ends = [number for number in _ENDS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, enough) for number in ends}
        try:
            yield watch
        finally:
            restore()


def _leave_terminal() -> None:
    """Nobody reads what is written there any more, and each write would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # one that is gone is no terminal in isatty's eyes
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def _bar(label: str) -> Iterator[Callable[[float, str], None] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    click.echo("Ctrl-C ends it early and keeps what there is.", err=True)
    words_at = Column(no_wrap=True, overflow="ellipsis")  # what has to go on a narrow terminal
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=len(label))),
        BarColumn(20, table_column=Column(min_width=10)),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("{task.fields[words]}", table_column=words_at),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=1.0, words="")
        lock = threading.Lock()

        def show(done: float, words: str) -> None:
            with lock:
                progress.update(task, completed=done, words=words)

        yield show


def moment_of(taken: Taken) -> str:
    """When it was taken, as it stands in the name of a file: `20261126.142042`."""
    return taken.capture.time[:19].replace("-", "").replace("T", ".").replace(":", "")


def page_of(settings: Settings, capture_id: str) -> str:
    """Where the capture's page is: on the viewer that it is delivered to, or the local one."""
    viewer = settings.store.rstrip("/") if settings.store.startswith(("http://", "https://")) else PAGE_AT
    return f"{viewer}/captures/{capture_id}"


def written(taken: Taken, settings: Settings, write: Callable[[], str | None]) -> str | None:
    """What `write` returns. Where the file cannot be written the capture is told of all the same. Raises DiagError."""
    try:
        return write()
    except DiagError:
        conclude(taken, settings)
        raise


def conclude(
    taken: Taken, settings: Settings, *, written: str | None = None, beside_output: bool = False, quiet: bool = False
) -> None:
    """Say what was taken: three facts, the file, the page. Then deliver it. Raises NotUploaded.

    All of it on stderr where stdout is somebody's `beside_output`.
    """

    def say(line: str, *, err: bool = beside_output) -> None:
        if not quiet:
            click.echo(line, err=err)

    for fact in taken.facts:
        say(visible(fact))
    for missing in taken.capture.incomplete:
        say(f"incomplete: {missing.section}: {missing.reason}", err=True)
    if written:
        say(f"file   {written}")
    say(f"page   {page_of(settings, taken.capture.capture_id)}")
    say(f"files  diag get {taken.capture.capture_id}")
    reports.deliver(taken.folder, settings=settings)
