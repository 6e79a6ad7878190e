"""The guard: a small process beside the agent that keeps the instance safe from the agent.

It is the door that probes connect to, so that a stopped agent never delays a start; it ends a freeze that lasts longer
than `FREEZE_LIMIT_S`, because each of faulthandler's hundreds of writes would otherwise wait for the send time-out on
its own; and it passes stderr through where stderr is a pipe, so that its last lines are at hand when the instance dies.
It is forked before the agent imports anything and outlives the agent for as long as the instance holds stderr.
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import select
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable

from diag.agent.go_trace import GoTrace
from diag.agent.node_options import ReportLines
from diag.probe.diag_probe import layout

TAIL_SIZE = 65536
HEAD_SIZE = 16384  # of a trace that is longer than the tail
CUT = "[diag: %d bytes of stderr were not kept]"
HEAD_AGAIN = 4096  # lines that belong to a trace's beginning are no new one
_INODE = struct.Struct("<Q")
_COUNT = struct.Struct("<QQQ")  # bytes written, where a trace began (plus one), how much of it is in the head
FLUSH, FLUSHED = b"F", b"K"
HEARD = b"H"  # a HELLO that the agent was too slow for: behind the inode of its link, and without its first byte
UNHEARD = b"U"  # nobody reads stderr any more


class StderrTail:
    """The last TAIL_SIZE bytes of stderr, in memory that the guard writes and the agent reads.

    Of the last trace that began, the first HEAD_SIZE bytes are kept, too.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _COUNT.size + TAIL_SIZE + HEAD_SIZE)

    def append(self, content: bytes, started: int | None = None) -> None:
        """Add what was written to stderr; `started` is how many bytes before its end a trace begins."""
        written, head, kept = _COUNT.unpack_from(self._memory, 0)
        after = written + len(content)
        if started is not None and started <= after and (not head or after - started >= head - 1 + HEAD_AGAIN):
            head, kept = after - started + 1, 0
        content = content[-TAIL_SIZE:]
        start = (after - len(content)) % TAIL_SIZE
        first = content[: TAIL_SIZE - start]
        self._memory[_COUNT.size + start : _COUNT.size + start + len(first)] = first
        self._memory[_COUNT.size : _COUNT.size + len(content) - len(first)] = content[len(first) :]
        if head and kept < HEAD_SIZE:
            more = self._ring(after)[head - 1 + kept - after :][: HEAD_SIZE - kept]
            at = _COUNT.size + TAIL_SIZE + kept
            self._memory[at : at + len(more)] = more
            kept += len(more)
        _COUNT.pack_into(self._memory, 0, after, head, kept)

    def text(self) -> str:
        """The tail, decoded, from the start of a line on; behind the head of a trace that began before it."""
        written, head, kept = _COUNT.unpack_from(self._memory, 0)
        ring = self._ring(written)
        if written <= TAIL_SIZE:
            return ring.decode(errors="replace")
        tail = ring.partition(b"\n")[2]
        cut = written - len(tail) - (head - 1 + kept)
        if not head or cut <= 0:
            return tail.decode(errors="replace")
        at = _COUNT.size + TAIL_SIZE
        return f"{self._memory[at : at + kept].decode(errors='replace')}\n{CUT % cut}\n{tail.decode(errors='replace')}"

    def _ring(self, written: int) -> bytes:
        """What is kept of so many bytes, in their order."""
        start = written % TAIL_SIZE
        ring = self._memory[_COUNT.size : _COUNT.size + TAIL_SIZE]
        return ring[:written] if written <= TAIL_SIZE else ring[start:] + ring[:start]


def why_not_relayed() -> str | None:
    """Why stderr must not be passed through a pipe of ours, or None where it can be."""
    try:
        errors = os.fstat(2)
    except OSError:
        return "stderr is closed"
    if not (stat.S_ISFIFO(errors.st_mode) or stat.S_ISSOCK(errors.st_mode)):
        return "stderr is a terminal, a file or /dev/null, which is left to the program alone"
    with contextlib.suppress(OSError):
        output = os.fstat(1)
        if (output.st_dev, output.st_ino) == (errors.st_dev, errors.st_ino):
            return "stdout and stderr are one pipe, and a relay would change their order"
    return None


class Guard:
    """The guard process. `run` never returns."""

    def __init__(
        self,
        door: socket.socket | None,
        agent: socket.socket,
        stderr_pipe: int | None,
        tail: StderrTail,
        report_lines: ReportLines,
        go: GoTrace | None = None,
    ) -> None:
        self._door = door
        self._agent: socket.socket | None = agent
        self._stderr_pipe = stderr_pipe
        self._tail = tail
        self._report_lines = report_lines
        self._go = go
        self._links: dict[int, socket.socket] = {}
        self._moved: dict[int, float] = {}  # link -> when its last packet came, monotonic; absent once it was drained
        self._poll = select.epoll()

    def run(self) -> None:
        """Serve until the agent is gone and stderr has ended, then exit."""
        self._become_quiet()
        assert self._agent is not None
        watched: dict[int, Callable[[], object]] = {self._agent.fileno(): self._answer}
        if self._door is not None:
            self._door.setblocking(False)
            watched[self._door.fileno()] = self._admit
        if self._stderr_pipe is not None:
            os.set_blocking(self._stderr_pipe, False)
            watched[self._stderr_pipe] = self._relay
        for descriptor in watched:
            self._poll.register(descriptor, select.EPOLLIN)
        while self._agent is not None or self._stderr_pipe is not None:
            for descriptor, mask in self._poll.poll(self._patience()):
                if descriptor in watched:
                    watched[descriptor]()
                else:
                    self._notice(descriptor, mask)
            self._end_long_freezes()
        os._exit(0)

    def _become_quiet(self) -> None:
        # Signals for the instance are not for us, and a terminal's job control least of all.
        os.setsid()
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.chdir("/")
        # Whoever reads the instance's output waits for the instance to end, not for us.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1) if self._stderr_pipe is not None else (0, 1, 2):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)

    def _admit(self) -> bool:
        """Let one probe in; whether there was one."""
        if self._door is None or self._agent is None:
            return False
        try:
            link, _ = self._door.accept()
        except OSError:
            return False
        try:
            self._agent.sendmsg([b"L"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [link.fileno()]))])
        except OSError:
            # The agent is gone, or has let a thousand links wait: this process starts without a probe.
            link.close()
            return True
        self._links[link.fileno()] = link
        self._poll.register(link, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        return True

    def _answer(self) -> None:
        assert self._agent is not None
        try:
            asked = self._agent.recv(16)
        except OSError:
            asked = b""
        if asked == FLUSH:
            self._relay()
            while self._agent is not None and self._admit():
                pass
            self._tell(FLUSHED)
        elif not asked:
            self._abandon()

    def _tell(self, message: bytes) -> None:
        if self._agent is not None:
            with contextlib.suppress(OSError):
                self._agent.send(message, socket.MSG_DONTWAIT)

    def _abandon(self) -> None:
        # Our copies of the links must not keep a dying process waiting for an agent that is gone.
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._moved.clear()
        if self._door is not None:
            self._poll.unregister(self._door)
            self._door.close()
        assert self._agent is not None
        self._poll.unregister(self._agent)
        self._agent.close()
        self._agent = None

    def _notice(self, descriptor: int, mask: int) -> None:
        if mask & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            self._moved.pop(descriptor, None)
            self._links.pop(descriptor).close()
        elif mask & select.EPOLLIN:
            self._moved[descriptor] = time.monotonic()

    def _patience(self) -> float:
        if not self._moved:
            return -1
        return max(0.0, min(self._moved.values()) + layout.FREEZE_LIMIT_S - time.monotonic())

    def _end_long_freezes(self) -> None:
        late = time.monotonic() - layout.FREEZE_LIMIT_S
        for descriptor in [descriptor for descriptor, moved in self._moved.items() if moved <= late]:
            del self._moved[descriptor]
            link = self._links[descriptor]
            if self._stands_frozen(link):
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)

    def _stands_frozen(self, link: socket.socket) -> bool:
        # Messages that a stopped agent has not read are taken away, or faulthandler's text, which alone means a freeze,
        # would find no place behind them. They are also in the black box, but for the HELLO, which says where that is.
        try:
            while True:
                head = link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                if not head or head[0] > layout.LAST_MESSAGE:
                    return bool(head)
                message = link.recv(65536, socket.MSG_DONTWAIT)
                if message[:1] == layout.HELLO:
                    self._tell(HEARD + _INODE.pack(os.fstat(link.fileno()).st_ino) + message[1:])
        except OSError:
            return False

    def _relay(self) -> None:
        """Pass on what is in the pipe now."""
        while self._stderr_pipe is not None:
            try:
                content = os.read(self._stderr_pipe, select.PIPE_BUF)
            except BlockingIOError:
                return
            passed = self._report_lines.without(content) if content else self._report_lines.rest()
            if not self._pass_on(passed) or not content:
                self._poll.unregister(self._stderr_pipe)
                os.close(self._stderr_pipe)
                self._stderr_pipe = None
                self._tell(UNHEARD)

    def _pass_on(self, content: bytes) -> bool:
        if self._go is not None:
            shown = self._go.shown(content) if content else self._go.rest()
            self._tail.append(content, self._go.started)
            content = shown
        else:
            self._tail.append(content)
        while content:
            try:
                content = content[os.write(2, content) :]
            except BlockingIOError:
                select.select([], [2], [])
            except OSError:
                return False  # nobody reads stderr any more; the program is told by its own pipe, as it would have been
        return True
