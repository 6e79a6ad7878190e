"""Signals that arrive for the agent and are meant for the instance."""

from __future__ import annotations

import os
import signal
import struct
import threading

# Never caught: the first two cannot be, the next are our own faults, and stopping is the terminal's business.
_LEFT_ALONE = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGTTIN,
    signal.SIGTTOU,
}
CAUGHT = set(signal.Signals) - _LEFT_ALONE
_ARRIVED = struct.Struct("=iiI")


def block() -> None:
    """Hold back every signal that is to be passed on; before the child starts, so that none is lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)


class Arrivals:
    """Signals as readable bytes: a thread waits for them, because only `sigwaitinfo` tells who sent one."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def fileno(self) -> int:
        """For poll: readable when a signal has arrived."""
        return self._reader

    def take(self) -> list[tuple[int, bool, int]]:
        """(signal, whether the kernel sent it to the whole foreground group, the sender's pid) of each that arrived."""
        arrived = []
        try:
            while content := os.read(self._reader, _ARRIVED.size):
                number, code, sender = _ARRIVED.unpack(content)
                # si_code above zero: sent by the kernel, as a terminal does; the child has had it too (sigaction(2)).
                arrived.append((number, code > 0, sender))
        except BlockingIOError:
            pass
        return arrived

    def _wait(self) -> None:
        while True:
            came = signal.sigwaitinfo(CAUGHT)
            os.write(self._writer, _ARRIVED.pack(came.si_signo, came.si_code, came.si_pid))
