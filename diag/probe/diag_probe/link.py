"""The link to the agent: one SOCK_SEQPACKET connection, under a descriptor number that programs never meet."""

import _signal
import _socket
import os
import sys

from . import layout

HIGHEST_NUMBER = 1024  # select() takes none above it, and no program counts that far by hand
PROBE_TYPE = _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC

FATAL_SIGNALS = {_signal.SIGSEGV, _signal.SIGABRT, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL}
POSTPONED = _signal.valid_signals() - FATAL_SIGNALS


def keep_forever(kept):
    """Hold an object past the end of the interpreter, because its finaliser would close a number that is not ours.

    The collector does not look into code objects, so a cycle through one is never freed.
    """
    cycle = [kept]
    cycle.append(keep_forever.__code__.replace(co_consts=(cycle,)))


def connect(path):
    """A Link to the agent that listens at `path`; None where nobody takes it at once."""
    sock = _socket.socket(_socket.AF_UNIX, PROBE_TYPE)
    try:
        sock.setblocking(False)
        _bound_waits(sock)
        sock.connect(path)
    except OSError:
        sock.close()
        return None
    fd = _move_up(sock.detach())
    os.set_blocking(fd, True)  # faulthandler's writes are meant to wait: that is the freeze
    return Link(fd)


def _bound_waits(sock):
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1)  # the kernel's minimum: a few packets
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, _timeval(layout.SEND_TIMEOUT_S))
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, _timeval(layout.FATAL_WAIT_S))


def _timeval(seconds):
    """`struct timeval` of this platform: two C longs."""
    size = 8 if sys.maxsize > 2**32 else 4
    return b"".join(part.to_bytes(size, sys.byteorder) for part in (int(seconds), int(seconds % 1 * 1e6)))


def _move_up(fd):
    """The same socket under the highest unused number, so that the program's own numbers stay what they were."""
    limit = os.sysconf("SC_OPEN_MAX")
    if not 0 < limit < HIGHEST_NUMBER:
        limit = HIGHEST_NUMBER
    for number in range(limit - 1, fd, -1):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(fd, number, inheritable=False)
            os.close(fd)
            return number
    return fd


class Link:
    """A connected link. `fd` is a number, not a file: the program may close it and use it again."""

    def __init__(self, fd):
        self.fd = fd
        self._identity = _identity(fd)
        # With SOCK_NONBLOCK in the type, Python neither polls nor touches the descriptor's own blocking mode,
        # whatever socket.setdefaulttimeout() says by then.
        self._sock = _socket.socket(_socket.AF_UNIX, PROBE_TYPE, 0, fd)
        keep_forever(self._sock)

    def is_ours(self):
        """Whether the number still means our socket."""
        return self.fd >= 0 and _identity(self.fd) == self._identity

    def tell(self, packet):
        """Send without waiting; False where the agent is gone or stuck, or the number is not ours any more."""
        if not self.is_ours():
            return False
        try:
            self._sock.send(packet, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def ask(self, packet):
        """Send and wait for the agent's ACK, FATAL_WAIT_S at most; whether it came."""
        # Blocked, because each signal that arrives would start the kernel's receive time-out anew.
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, POSTPONED)
        try:
            self._forget_answers()
            return self.tell(packet) and self._sock.recv(1) == layout.ACK
        except OSError:
            return False
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)

    def _forget_answers(self):
        """An ACK that came too late for its question must not answer the next one."""
        try:
            while self.is_ours() and self._sock.recv(1, _socket.MSG_DONTWAIT):
                pass
        except OSError:
            pass

    def is_left(self):
        """Whether the agent has hung up. What it has said and nobody has read yet stays where it is."""
        try:
            return not self._sock.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self):
        """Let go of the socket; in a fork this leaves the parent's end open."""
        if self.is_ours():
            os.close(self.fd)
        self._sock.detach()
        self.fd = -1


def _identity(fd):
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino
