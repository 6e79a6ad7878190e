"""What decoders find, and what they have in common: messages cut out of two streams that may have holes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from diag.model import Link

ENDLESS = 1 << 60  # the rest of the stream, whatever comes
BUFFER_BYTES = 1 << 15
MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer. `latency_s` is None where none was seen; `what` is raw and passes the redactor later.

    `failed` is for an answer that is an error, and for a question whose connection ended before it.
    """

    protocol: str
    client: str
    server: str
    started: float
    latency_s: float | None
    what: str
    status: str = ""
    failed: bool = False
    link: Link = Link()
    details: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Asked:
    """A question that waits for its answer."""

    started: float
    what: str
    link: Link = Link()
    details: tuple[tuple[str, str], ...] = ()
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation as its decoder sees it: who with whom, where exchanges go, and what may stay of its bytes.

    `clean` covers what the redactor knows to be secret, and leaves the length as it is.
    """

    client: str
    server: str
    emit: Callable[[Exchange], None]
    keep: Callable[[int, bytes], None]
    clean: Callable[[bytes], bytes] = bytes


class Message(NamedTuple):
    """How long a message is, beyond what was captured too, and its start as it may be kept."""

    length: int
    kept: bytes = b""


class Lost(Exception):
    """Where the next message starts is not known. With `kept`, this one was understood, as far as it went."""

    def __init__(self, kept: bytes = b"") -> None:
        super().__init__()
        self.kept = kept


@dataclass(slots=True)
class _Side:
    buffer: bytearray = field(default_factory=bytearray)
    places: list[tuple[int, int]] = field(default_factory=list)  # where the file holds what is in the buffer
    skip: int = 0
    lost: bool = False

    def drop(self) -> None:
        self.buffer.clear()
        self.places.clear()


class Messages:
    """A decoder: `read` is called with each message's start, `starts` after a hole, and both may be wrong guesses."""

    protocol: ClassVar[str] = ""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.waiting: deque[Asked] = deque()
        self.successor: Messages | None = None  # what the two agreed to speak instead
        self._sides = (_Side(), _Side())

    def read(self, from_client: bool, data: bytes, at: int, time: float, cut: bool) -> Message | None:
        """The message at `at`; None where more of it is needed. With `cut`, no more of it will come. Raises Lost."""
        raise NotImplementedError

    def starts(self, from_client: bool, data: bytes) -> bool:
        """Whether a message may begin here."""
        raise NotImplementedError

    def finished(self, from_client: bool, time: float) -> None:
        """Hear that all bytes of the message have gone by."""

    def ask(self, asked: Asked) -> None:
        """Note a question."""
        if len(self.waiting) < MOST_WAITING:
            self.waiting.append(asked)

    def answer(self, asked: Asked, time: float | None, status: str = "", failed: bool = False) -> None:
        """Tell what became of a question."""
        latency_s = None if time is None else max(0.0, time - asked.started)
        self.talk.emit(
            Exchange(
                self.protocol,
                self.talk.client,
                self.talk.server,
                asked.started,
                latency_s,
                asked.what,
                status,
                failed,
                asked.link,
                asked.details,
            )
        )

    def hear(self, from_client: bool, data: bytes, time: float, place: int) -> None:
        """Take the next bytes of one side, which the file holds at `place`."""
        if self.successor:
            self.successor.hear(from_client, data, time, place)
            return
        side = self._sides[from_client]
        if side.skip:
            passed = min(side.skip, len(data))
            side.skip -= passed
            data, place = data[passed:], place + passed
            if not side.skip:
                self.finished(from_client, time)
        if not data or (side.lost and not self.starts(from_client, data)):
            return
        side.lost = False
        side.buffer += data
        side.places.append((place, len(data)))
        self._read(from_client, side, time, cut=False)

    def miss(self, from_client: bool, size: int, time: float) -> None:
        """Go on behind bytes that were not captured."""
        if self.successor:
            self.successor.miss(from_client, size, time)
            return
        side = self._sides[from_client]
        if side.buffer:
            self._read(from_client, side, time, cut=True)
        if side.skip >= size and not side.buffer:
            side.skip -= size
            if not side.skip:
                self.finished(from_client, time)
        elif not side.lost:
            self._lose(side)

    def end(self, time: float, cause: str) -> None:
        """The conversation is over, because of `cause`; empty where only the capture is."""
        if self.successor:
            self.successor.end(time, cause)
        for asked in self.waiting:
            self.answer(asked, None, cause or "no answer yet", failed=bool(cause))
        self.waiting.clear()

    def _read(self, from_client: bool, side: _Side, time: float, cut: bool) -> None:
        data, at = bytes(side.buffer), 0
        while at < len(data):
            try:
                message = self.read(from_client, data, at, time, cut)
            except Lost as error:
                self._keep(side, at, error.kept)
                self._lose(side, forget=not error.kept)
                return
            if message is None:
                break
            self._keep(side, at, message.kept)
            at += message.length
            if at <= len(data):
                self.finished(from_client, time)
            if self.successor:
                self._hand_over(from_client, data[at:], time, side)
                return
        side.skip = max(0, at - len(data))
        self._consume(side, min(at, len(data)))
        if len(side.buffer) > BUFFER_BYTES or (cut and side.buffer):
            self._lose(side)

    def _hand_over(self, from_client: bool, rest: bytes, time: float, side: _Side) -> None:
        assert self.successor is not None
        if rest:
            place, length = side.places[-1]
            self.successor.hear(from_client, rest[-length:], time, place + max(0, length - len(rest)))
        side.drop()

    def forget(self) -> None:
        """Let go of the questions: whose answer the next one is, nobody can tell."""
        for asked in self.waiting:
            self.answer(asked, None, "not captured")
        self.waiting.clear()

    def _lose(self, side: _Side, forget: bool = True) -> None:
        side.drop()
        side.skip, side.lost = 0, True
        if forget:
            self.forget()

    def _consume(self, side: _Side, size: int) -> None:
        if size == len(side.buffer):
            side.drop()
            return
        del side.buffer[:size]
        while size:
            place, length = side.places[0]
            passed = min(size, length)
            size -= passed
            if passed == length:
                side.places.pop(0)
            else:
                side.places[0] = (place + passed, length - passed)

    def _keep(self, side: _Side, at: int, kept: bytes) -> None:
        begin, kept = 0, self.talk.clean(kept)
        for place, length in side.places:
            start, stop = max(at, begin), min(at + len(kept), begin + length)
            if start < stop:
                self.talk.keep(place + start - begin, kept[start - at : stop - at])
            begin += length
            if begin >= at + len(kept):
                return
