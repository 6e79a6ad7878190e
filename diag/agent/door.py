"""The agent's side of the guard: where probes arrive, and where stderr's last lines are."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import warnings
from pathlib import Path

from diag.agent.go_trace import VARIABLE, GoTrace
from diag.agent.guard import FLUSH, FLUSHED, HEARD, UNHEARD, Guard, StderrTail, why_not_relayed
from diag.agent.node_options import REPORT_NAME, ReportLines
from diag.probe.diag_probe import layout

SOCKET_NAME = "s"
FLUSH_WAIT_S = 1.0


class Door:
    """Open from before the child starts until the agent ends. `stderr` is what the child gets as its descriptor 2,
    where that is a relay; `alive` is whether the guard still serves.

    A run folder that cannot be made costs the probe (`no_probe` says why), never the start: the instance comes first.
    An agent of many instances listens already, and says why it has nobody's stderr.
    """

    def __init__(
        self, folder: Path, listener: socket.socket | None = None, no_tail: str | None = None, *, go: bool = False
    ) -> None:
        self.folder = folder
        self.is_go = go  # the command is a Go program
        self._tail = StderrTail()
        self.no_tail = no_tail or why_not_relayed()
        self.no_probe: str | None = None
        self.folder_is_needed = False  # by whoever finishes for us: processes of the instance outlive it
        self._listener: socket.socket | None = listener
        try:
            self._listener = listener or _listen(folder)
        except OSError as error:
            self.no_probe = f"the run folder {folder} cannot be used: {error.strerror}"
        self._stderr_reader: int | None = None
        self.stderr: int | None = None
        if self.no_tail is None:
            self._stderr_reader, self.stderr = os.pipe()
        self.alive = self.settled = False
        self._hellos: list[tuple[int, bytes]] = []
        self._guard: socket.socket | None = None
        self._guard_pid = 0
        self.reopen()

    @property
    def connected(self) -> bool:
        """Whether a guard serves us."""
        return self._guard is not None

    def fileno(self) -> int:
        """For poll: readable when a probe has arrived."""
        assert self._guard is not None
        return self._guard.fileno()

    def is_guard(self, pid: int) -> bool:
        """Whether this process is the guard."""
        return pid == self._guard_pid

    def reopen(self) -> None:
        """Start the guard; again, where somebody killed it."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._listener is None and self._stderr_reader is None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with warnings.catch_warnings():
            # The guard never touches what another thread may have locked.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._guard_pid = os.fork()
        if self._guard_pid == 0:
            self._become_guard(ours, theirs)
        theirs.close()
        self._guard = ours
        self.alive = True

    def _become_guard(self, ours: socket.socket, theirs: socket.socket) -> None:
        try:
            ours.close()
            # A later guard is forked from a busy agent: a copy of a link would keep a dying process waiting.
            kept = {self._listener.fileno() if self._listener else -1, theirs.fileno(), self._stderr_reader}
            for number in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208  numbers, not paths
                if number > 2 and number not in kept:
                    with contextlib.suppress(OSError):
                        os.close(number)
            lines = ReportLines(self.folder / REPORT_NAME)
            go = GoTrace(hush=VARIABLE not in os.environ) if self.is_go else None
            Guard(self._listener, theirs, self._stderr_reader, self._tail, lines, go).run()
        finally:
            os._exit(1)

    def child_started(self) -> None:
        """Let go of the child's end of stderr, so that the pipe ends when the instance does."""
        if self.stderr is not None:
            os.close(self.stderr)
            self.stderr = None

    def admit(self) -> list[socket.socket]:
        """The links of the probes that have arrived; unsets `alive` where the guard is gone."""
        links: list[socket.socket] = []
        while self._guard is not None and self._receive(links, socket.MSG_DONTWAIT) is not None:
            pass
        return links

    def hellos(self) -> list[tuple[int, bytes]]:
        """What probes said that we were too slow for, each with the inode of its link; told once."""
        told, self._hellos = self._hellos, []
        return told

    def settle(self) -> list[socket.socket]:
        """Wait, FLUSH_WAIT_S at most, until the guard has passed on what the instance wrote and who had arrived.

        Sets `settled` to whether it had by then.
        """
        links: list[socket.socket] = []
        self.settled = self._guard is None
        if self._guard is None or not self.alive:
            return links
        self._guard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(FLUSH_WAIT_S), 0))
        with contextlib.suppress(OSError):
            self._guard.send(FLUSH)
            while (said := self._receive(links, 0)) not in (FLUSHED, None):
                pass
            self.settled = said == FLUSHED
        return links

    def _receive(self, links: list[socket.socket], flags: int) -> bytes | None:
        """The guard's next message; None where there is none now, or never again."""
        assert self._guard is not None
        try:
            # Not socket.recv_fds, which takes flags and forgets them.
            content, ancillary, _, _ = self._guard.recvmsg(65536, socket.CMSG_SPACE(4), flags)
        except BlockingIOError:
            return None
        except OSError:
            content, ancillary = b"", []
        for _, kind, passed in ancillary:
            if kind == socket.SCM_RIGHTS:
                links.append(socket.socket(fileno=int.from_bytes(passed[:4], sys.byteorder)))
        self.alive = bool(content)
        if content == UNHEARD:
            self._close_stderr()
        elif content[:1] == HEARD:
            self._hellos.append((int.from_bytes(content[1:9], "little"), content[9:]))
        return content or None

    def tail_text(self) -> str | None:
        """The last lines of stderr, or None where `no_tail` says why not."""
        return None if self.no_tail else self._tail.text()

    def close(self) -> None:
        """Tell the guard that we are done."""
        self._close_stderr()
        for end in (self._guard, self._listener):
            if end is not None:
                end.close()

    def _close_stderr(self) -> None:
        if self._stderr_reader is not None:
            os.close(self._stderr_reader)
            self._stderr_reader = None


def _listen(folder: Path) -> socket.socket:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.parent.stat().st_uid != os.geteuid():
        raise PermissionError(1, "it belongs to another user")
    folder.mkdir(mode=0o700)
    (folder / layout.BOX_FOLDER).mkdir(mode=0o700)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(folder / SOCKET_NAME))
    listener.listen(4096)
    return listener
