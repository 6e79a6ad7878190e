"""Asks the probe in a live process a question, which it answers on the program's main thread.

The question goes through the black box and SIGURG, the answer comes through a socket: so it works also where the
process has changed its user or its root since. Only what every probe can do is asked; see diag_probe/answering.py.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diag.collectors import network
from diag.collectors.beside import kernel
from diag.collectors.collector import Subject
from diag.collectors.procfs import ProcFolder, gone, parse_stat, parse_status
from diag.collectors.unmarshal import Torn, loads
from diag.errors import Busy, CannotAttach, DiagError, NoSuchInstance
from diag.probe.diag_probe import layout

PATIENCE_S = 5.0
AGAIN_S = 0.5
LARGEST_BYTES = 256 * 1024 * 1024
_BIT = 1 << signal.SIGURG - 1
_CREDENTIALS = struct.Struct("3i")


class NotAnswered(DiagError):
    """There is no probe to ask, or it did not answer; the message says why."""

    exit_code = 3
    help_text = "`diag run -- COMMAND` starts a program with the probe in it; nothing in the program changes."


@dataclass(frozen=True, slots=True)
class Answer:
    """What the probe said, as plain data, and for how long the program's main thread did nothing else, in seconds."""

    value: Any
    held_s: float


def check(who: Subject) -> None:
    """Raises NotAnswered or CannotAttach with what would make it work; touches nothing."""
    path = _box_path(who)
    if not os.access(path, os.R_OK | os.W_OK):
        raise CannotAttach(f"The black box of process {who.pid} is not yours.", "Run as the same user, or as root.")
    if who.standing:
        raise NotAnswered(f"Process {who.pid} cannot answer: {who.standing}.", "Let it run, and ask again.")
    with ProcFolder(who.pid) as folder:
        status = parse_status(folder.text("status"))
    if status["State"][0] in "ZX":  # it has no signals any more, either
        raise gone(who.pid)
    if int(status["SigBlk"], 16) & _BIT or not int(status["SigCgt"], 16) & _BIT:
        raise NotAnswered(
            f"Process {who.pid} does not listen: its program blocks SIGURG or has taken it for itself.",
            "The probe is asked by this signal, which programs have no use for as a rule.",
        )


def ask(
    who: Subject, name: str, arguments: Mapping[str, Any] | None = None, *, patience_s: float = PATIENCE_S
) -> Answer:
    """The answer to one of the probe's questions. Raises NotAnswered, Busy, CannotAttach, NoSuchInstance.

    The program's main thread stands still while it answers; its other threads too where the answer takes the
    interpreter's lock and does not let it go.
    """
    check(who)
    with _box(who) as box, closing(_listen(who.pid)) as listener, _pidfd(who) as pidfd:
        waiting = _Waiting(who, box, pidfd, time.monotonic() + patience_s)
        _put(box, (name, dict(arguments or {}), listener.getsockname()[1:]))
        try:
            # The kernel hands it to the main thread, as long as that one does not block it.
            signal.pidfd_send_signal(pidfd, signal.SIGURG)
            waiting.remind(listener)
            with closing(waiting.admit(listener)) as link:
                payload = waiting.read(link)
        except ProcessLookupError:
            raise NoSuchInstance(f"process {who.pid} has ended.") from None
        finally:
            os.pwrite(box, bytes(4), layout.QUESTION_AT)
    return _understand(payload, name)


@contextmanager
def making_sense(name: str) -> Iterator[None]:
    """Where an answer is read: the process may be somebody else's. Raises NotAnswered where it is no such answer."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NotAnswered(f"The probe's answer to {name!r} makes no sense: {error!r:.100}.", "") from error


def _box_path(who: Subject) -> Path:
    path = who.run_dir / layout.BOX_FOLDER / (layout.BOX_NAME % (who.pid, who.start_ticks)) if who.run_dir else None
    if path is None or not path.exists():
        raise NotAnswered(f"There is no probe in process {who.pid}.")
    return path


@contextmanager
def _box(who: Subject) -> Iterator[int]:
    """The process's black box, for us alone. Raises Busy."""
    descriptor = os.open(_box_path(who), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise Busy(f"Another diag is asking process {who.pid}.") from None
    finally:
        os.close(descriptor)


def _put(box: int, question: tuple[str, dict[str, Any], bytes]) -> None:
    payload = marshal.dumps(question, 4)
    if len(payload) > layout.QUESTION_SIZE - 4:
        raise ValueError(f"a question of {len(payload)} bytes")
    os.pwrite(box, payload, layout.QUESTION_AT + 4)
    os.pwrite(box, len(payload).to_bytes(4, "little"), layout.QUESTION_AT)


def _listen(pid: int) -> socket.socket:
    """A listening socket in the network namespace of the process. Raises CannotAttach."""
    try:
        if network.is_ours(pid):
            return _bound()
        with network.held(pid) as path:
            return _bound_in(path)
    except OSError as error:
        raise CannotAttach(
            f"The network namespace of process {pid} cannot be entered: {error.strerror}.",
            "The probe answers through it. Run as root, or add CAP_SYS_ADMIN.",
        ) from None


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(b"\0diag-" + os.urandom(12).hex().encode())
    sock.listen()
    return sock


def _bound_in(path: str) -> socket.socket:
    """The same in another namespace: a socket stays where it was made, and only a thread of its own goes there."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def make() -> None:
        try:
            namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                kernel.setns(namespace)
            finally:
                os.close(namespace)
            made.append(_bound())
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


@contextmanager
def _pidfd(who: Subject) -> Iterator[int]:
    """This very process, whoever has its pid later. Raises NoSuchInstance."""
    with ProcFolder(who.pid) as folder:
        if int(parse_stat(folder.small("stat"))[1][19]) != who.start_ticks:
            raise gone(who.pid)
        descriptor = os.pidfd_open(who.pid)
        folder.small("stat")  # it was still there when the descriptor was made
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Until the process has answered, has ended, or the time (monotonic) is up."""

    who: Subject
    box: int
    pidfd: int
    until: float

    def remind(self, listener: socket.socket) -> None:
        """Send the signal once more where nobody has taken the question soon.

        One that comes right before the main thread begins to wait for a lock wakes nobody: CPython has looked for
        signals before (Modules/_threadmodule.c, acquire_timed).
        """
        if self.until - time.monotonic() <= AGAIN_S:
            return
        someone, _, _ = select.select([listener.fileno(), self.pidfd], [], [], AGAIN_S)
        if not someone and os.pread(self.box, 4, layout.QUESTION_AT) != bytes(4):
            signal.pidfd_send_signal(self.pidfd, signal.SIGURG)

    def admit(self, listener: socket.socket) -> socket.socket:
        """The connection of this very process, by the kernel's word."""
        while True:
            self._wait(listener)
            link, _ = listener.accept()
            peer = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            if _CREDENTIALS.unpack(peer)[0] == self.who.pid:
                return link
            link.close()

    def read(self, link: socket.socket) -> bytes:
        """All that it writes."""
        chunks: list[bytes] = []
        size = 0
        while size <= LARGEST_BYTES:
            self._wait(link)
            chunk = link.recv(1 << 20)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
        raise NotAnswered(f"Process {self.who.pid} answers with more than {LARGEST_BYTES >> 20} MiB.", "")

    def _wait(self, sock: socket.socket) -> None:
        either: list[Any] = [sock, self.pidfd]
        ready, _, _ = select.select(either, [], [], max(0.0, self.until - time.monotonic()))
        if sock in ready:
            return
        if ready:
            raise NoSuchInstance(f"process {self.who.pid} ended before it had answered.")
        raise NotAnswered(
            f"Process {self.who.pid} has not answered: its main thread does not come back to the interpreter.",
            "It waits in C code that signals do not interrupt, or another thread keeps the interpreter's lock.",
        )


def _understand(payload: bytes, name: str) -> Answer:
    try:
        fine, value, held_s = loads(payload)
    except (Torn, TypeError, ValueError):
        raise NotAnswered(f"The probe's answer to {name!r} broke off.", "Ask again.") from None
    if fine is not True:
        raise NotAnswered(f"The probe could not answer {name!r}: {value}.", "")
    return Answer(value, float(held_s))
