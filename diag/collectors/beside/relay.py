"""Carries input, output and signals between the user and a command that a steward runs, and times it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from diag.collectors.beside import terminal
from diag.collectors.beside.transcript import Transcript

CHUNK_BYTES = 1 << 16
DRAIN_S = 5.0
LOOK_EVERY_S = 0.5
END_OF_INPUT = b"\x04"  # what a terminal makes of Ctrl-D
MOST_INTERRUPTS = 3
FORWARDED = (signal.SIGINT, signal.SIGQUIT)
ENDING = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended: `itself`, `timeout`, `idle`, `stopped`, `lost` with the instance, `killed` with the
    steward, or the name of a signal that came for diag.

    `message` is what the steward said where the command was never started.
    """

    ended_by: str
    status: int | None = None
    killed: int = 0
    message: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Relay:
    """One command's streams. `streams` are the descriptors to read and what they are; `into` takes its input."""

    control: socket.socket
    streams: dict[int, str]
    into: int | None
    tty: bool
    transcript: Transcript
    began: float
    idle_timeout_s: float
    stopped: Callable[[], bool]
    started: Callable[[], None]
    _input: bytes = b""
    _reads_input: bool = True
    _said: bytes = b""
    _ended_by: str = ""
    _interrupts: int = 0
    _active: float = field(default_factory=time.monotonic)

    def run(self) -> Outcome:
        """Until the command and all that it has started have ended."""
        with _signals() as woken:
            while True:
                message = self._turn(woken)
                if message is not None:
                    break
        return self._conclude(message)

    def _turn(self, woken: int) -> Mapping[str, Any] | None:
        reading: list[Any] = [self.control, woken, *self.streams]
        if self._reads_input and len(self._input) < CHUNK_BYTES:
            reading.append(0)
        writing = [self.into] if self.into is not None and self._input else []
        ready, writable, _ = select.select(reading, writing, [], LOOK_EVERY_S)
        for descriptor in [one for one in self.streams if one in ready]:
            self._read_output(descriptor)
        if 0 in ready and self._reads_input:
            self._read_input()
        if writable:
            self._write_input()
        if woken in ready:
            for number in os.read(woken, 64):
                self._signal(number)
        if self.stopped():
            self._end("stopped")
        if self.idle_timeout_s and time.monotonic() - self._active > self.idle_timeout_s:
            self._end("idle")
        return self._hear() if self.control in ready else None

    def _hear(self) -> Mapping[str, Any] | None:
        received = self.control.recv(CHUNK_BYTES)
        if not received:
            return {"ended": "killed"}
        *lines, self._said = (self._said + received).split(b"\n")
        for line in lines:
            message: Mapping[str, Any] = json.loads(line)
            if "started" not in message:
                return message
            self.started()
        return None

    def _conclude(self, message: Mapping[str, Any]) -> Outcome:
        until = time.monotonic() + DRAIN_S
        while self.streams and time.monotonic() < until:
            ready, _, _ = select.select(list(self.streams), [], [], LOOK_EVERY_S)
            for descriptor in ready:
                self._read_output(descriptor)
        if "ended" not in message:
            return Outcome("refused", message=message)
        return Outcome(self._ended_by or message["ended"], message.get("status"), message.get("killed", 0))

    def _read_output(self, descriptor: int) -> None:
        try:
            content = os.read(descriptor, CHUNK_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal's other end is closed by all
                raise
            content = b""
        stream = self.streams[descriptor]
        if not content:
            self._close_stream(descriptor)
            return
        self._active = time.monotonic()
        self.transcript.output(self._active - self.began, stream, content if self.tty else _as_on_screen(content))
        try:
            _write_all(2 if stream == "stderr" else 1, content)
        except BrokenPipeError:
            # The command learns it as it would have without us: by writing on.
            self._close_stream(descriptor)

    def _close_stream(self, descriptor: int) -> None:
        del self.streams[descriptor]
        if descriptor == self.into:
            self.into = None
        os.close(descriptor)

    def _read_input(self) -> None:
        try:
            content = os.read(0, CHUNK_BYTES)
        except OSError:
            content = b""  # closed, or a terminal that hung up
        self._active = time.monotonic()
        self._reads_input = bool(content)
        self._input += content or (END_OF_INPUT if self.tty else b"")
        if not self._input:
            self._close_input()

    def _write_input(self) -> None:
        assert self.into is not None
        try:
            self._input = self._input[os.write(self.into, self._input) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self._input, self._reads_input = b"", False
        if not self._input and not self._reads_input:
            self._close_input()

    def _close_input(self) -> None:
        if self.into is not None and not self.tty:
            os.close(self.into)
            self.into = None

    def _signal(self, number: int) -> None:
        if number == signal.SIGWINCH and self.tty:
            columns, rows = terminal.size(0)
            if self.into is not None:
                terminal.resize(self.into, columns, rows)
            self.transcript.resize(time.monotonic() - self.began, columns, rows)
        elif number in FORWARDED:
            self._interrupts += number == signal.SIGINT
            self._tell({"signal": number})
            if self._interrupts >= MOST_INTERRUPTS:
                self._end(signal.Signals(number).name)
        elif number in ENDING:
            self._end(signal.Signals(number).name)

    def _end(self, why: str) -> None:
        if not self._ended_by:
            self._ended_by = why
            self._tell({"end": why})

    def _tell(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(message).encode() + b"\n")


def _as_on_screen(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


@contextmanager
def _signals() -> Iterator[int]:
    """A descriptor on which the numbers of the signals arrive that are ours to pass on."""
    heard, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    numbers = (*FORWARDED, *ENDING, signal.SIGWINCH)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    woken_before = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    try:
        yield heard
    finally:
        signal.set_wakeup_fd(woken_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(heard)
        os.close(woken)
