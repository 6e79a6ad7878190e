"""Runs a command beside a process and keeps what it wrote: the transcript is the capture."""

from __future__ import annotations

import errno
import json
import os
import pty
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diag.collectors.asked import ExecAsked
from diag.collectors.beside import steward, subject, terminal
from diag.collectors.beside.relay import Outcome, Relay
from diag.collectors.beside.transcript import Transcript
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.proc import environment_of
from diag.collectors.procfs import ProcFolder
from diag.errors import CannotAttach, DiagError, NoSuchInstance, NotExecuted
from diag.model import Missing, now
from diag.redact import Redactor

FILE_NAME = "transcript.cast"
CAST = "application/x-asciicast"
KILL_S = 30.0
TIMED_OUT = 124  # as timeout(1) says it
KILLED = 128 + 9


class Beside:
    """A command in the namespaces of a process, as its user."""

    engine = "namespaces"

    def __init__(self, asked: ExecAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """Its namespaces and its user can be taken."""
        return look(subject).words()

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """Run it to its end. Raises NotExecuted, CannotAttach, NoSuchInstance where it was never started."""
        reading = look(subject)
        try:
            return self._run(subject, reading, folder, watch, host_tools=bool(self._asked.host_tools))
        except NotExecuted as error:
            if self._asked.host_tools is not None or not reading.separate or error.exit_code != NotExecuted.exit_code:
                raise
        watch.tell("The instance has no shell. This is one of this machine; the instance's files are in /instance.")
        (folder / FILE_NAME).unlink()
        return self._run(subject, reading, folder, watch, host_tools=True)

    def _run(
        self, who: Subject, reading: subject.Reading, folder: Path, watch: Watch, *, host_tools: bool
    ) -> Collected:
        asked, redactor = self._asked, Redactor(environment=environment_of(who.pid))
        term = os.environ.get("TERM", "") if asked.tty else ""
        size, began = terminal.size(0), time.monotonic()
        transcript = Transcript(
            folder / FILE_NAME, redactor, size=size, began=now(), command=asked.commands[0], term=term
        )
        order = {
            "pid": who.pid,
            "ticks": who.start_ticks,
            "commands": asked.commands,
            "host_tools": host_tools,
            "tty": asked.tty,
            "term": term,
            "path": os.environ.get("PATH", os.defpath),
            "timeout_s": asked.timeout_s,
            "mark": os.urandom(8).hex(),
        }
        try:
            outcome = _attend(order, transcript, asked, watch, size, began)
        finally:
            transcript.close(time.monotonic() - began)
        _check_started(outcome, reading, asked, host_tools=host_tools)
        facts = {
            "command": redactor.argv(asked.commands[0]),
            "ended_by": outcome.ended_by,
            "status": exit_status(outcome),
            "killed": outcome.killed,
            "seconds": round(time.monotonic() - began, 3),
            "where": reading.words() if not host_tools else f"{reading.words()}, with this machine's programs",
            "redactions": redactor.counts(),
        }
        made = Made(folder / FILE_NAME, "transcript", "asciicast", CAST)
        return Collected((made,), "namespaces", facts, incomplete=tuple(_missing(outcome, transcript)))


def look(who: Subject) -> subject.Reading:
    """What entering takes. Raises CannotAttach with the capabilities that lack, NoSuchInstance."""
    with ProcFolder(who.pid) as folder:
        reading = subject.read(folder, who.start_ticks)
        subject.check_privilege(reading, folder)
    return reading


def exit_status(outcome: Outcome) -> int:
    """The command's own; 124 at a time limit, 128+n where a signal came for diag."""
    import signal

    if outcome.ended_by in ("timeout", "idle"):
        return TIMED_OUT
    if outcome.ended_by in signal.Signals.__members__:
        return 128 + signal.Signals[outcome.ended_by]
    return KILLED if outcome.status is None else outcome.status


def _attend(
    order: dict[str, Any],
    transcript: Transcript,
    asked: ExecAsked,
    watch: Watch,
    size: tuple[int, int],
    began: float,
) -> Outcome:
    with ExitStack() as stack:
        streams = _terminal(size) if asked.tty else _pipes()
        shown = asked.tty and os.isatty(0)
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        with _stewarded(ours, theirs, {**order, "files": streams.theirs, "terminal": 0 if shown else None}) as process:
            relay = Relay(
                control=ours,
                streams=streams.ours,
                into=streams.into,
                tty=asked.tty,
                transcript=transcript,
                began=began,
                idle_timeout_s=asked.idle_timeout_s,
                stopped=watch.stop.is_set,
                started=(lambda: stack.enter_context(terminal.raw(0)) and None) if shown else (lambda: None),
            )
            outcome = relay.run()
            process.wait(KILL_S)
        for descriptor in {*relay.streams, *([relay.into] if relay.into is not None else [])}:
            os.close(descriptor)
    return outcome


@dataclass(slots=True)
class _Streams:
    ours: dict[int, str]
    into: int
    theirs: list[int]


def _terminal(size: tuple[int, int]) -> _Streams:
    ours, theirs = pty.openpty()
    terminal.resize(ours, *size)
    os.set_blocking(ours, False)
    return _Streams({ours: "stdout"}, ours, [theirs, os.dup(theirs), os.dup(theirs)])


def _pipes() -> _Streams:
    """Pipes, never our own descriptors: a terminal in the instance's hands could be typed into (ioctl_tty(2))."""
    (stdin, into), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
    os.set_blocking(into, False)
    return _Streams({out: "stdout", err: "stderr"}, into, [stdin, stdout, stderr])


@contextmanager
def _stewarded(
    ours: socket.socket, theirs: socket.socket, order: Mapping[str, Any]
) -> Iterator[subprocess.Popen[bytes]]:
    """A steward at work. Where we leave early, it ends what it has started."""
    handed = [theirs.fileno(), *order["files"]]
    terminal_fd = None
    if order["terminal"] is not None:
        terminal_fd = os.dup(0)
        handed.append(terminal_fd)
    with os.fdopen(os.memfd_create("complaints"), "w+b") as complaints:
        process = subprocess.Popen(
            steward.command_line(theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=handed,
            start_new_session=True,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )
        theirs.close()
        for descriptor in handed[1:]:
            os.close(descriptor)
        try:
            ours.sendall(json.dumps({**order, "terminal": terminal_fd}).encode() + b"\n")
            yield process
        finally:
            ours.close()
            try:
                process.wait(KILL_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        complaints.seek(0)
        if process.returncode:
            raise DiagError(f"The steward of the command failed: {complaints.read()[-600:].decode(errors='replace')}")


def _check_started(outcome: Outcome, reading: subject.Reading, asked: ExecAsked, *, host_tools: bool) -> None:
    """Raise what kept the command from being started."""
    message = outcome.message
    if not message:
        return
    if "refused" in message:
        kind = NoSuchInstance if message["exit_code"] == NoSuchInstance.exit_code else CannotAttach
        raise kind(message["refused"], message["help"])
    number = int(message.get("not_executed") or message["errno"])
    words = asked.commands[0][0]
    if "not_executed" in message:
        found = number not in (errno.ENOENT, errno.ENOTDIR)
        error = NotExecuted(f"{words}: {os.strerror(number)} {'on this machine' if host_tools else 'in the instance'}.")
        if found or host_tools or not reading.separate:
            error.help_text = ""
        error.exit_code = NotExecuted.NOT_EXECUTABLE if found else NotExecuted.exit_code
        raise error
    raise CannotAttach(
        f"The kernel refused a command beside process {reading.pid} at the step {message['step']!r}:"
        f" {os.strerror(number)}.",
        f"This step needs {message['needed']}.",
    )


def _missing(outcome: Outcome, transcript: Transcript) -> Iterator[Missing]:
    if transcript.full:
        yield Missing("transcript", "it has reached its limit of 15 MiB; what was written after that is missing")
    reasons = {
        "timeout": "the command was ended at its time limit",
        "idle": "the command was ended because nothing was written or typed for too long",
        "lost": "the instance has ended, and everything in its pid namespace with it",
        "killed": "the steward of the command was killed, and the command with it",
    }
    if outcome.ended_by != "itself":
        yield Missing("command", reasons.get(outcome.ended_by, f"the command was ended: {outcome.ended_by}"))
