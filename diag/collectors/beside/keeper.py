"""The keeper: the command's parent in the instance's namespaces. Once it is there, nothing may be imported."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import termios
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from typing import Any, NoReturn

from diag.collectors.beside import kernel, leftovers
from diag.collectors.beside.entry import Refused, Way

MOST_LIKELY_KILLED = b"1000"  # proc_pid_oom_score_adj(5): should memory run out, then not the instance


class Keeper:
    """The parent of the command, in there, as the instance's user."""

    def __init__(self, said: int, cgroup: leftovers.Cgroup | None, order: Mapping[str, Any]) -> None:
        self._said = said
        self._cgroup = cgroup
        self._order = order

    def run(self, way: Way, environment: dict[bytes, bytes]) -> NoReturn:
        """Go there, start the command, and wait until nobody is left. Never returns."""
        try:
            self._enter(way)
            words = [[word.encode("utf-8", "surrogateescape") for word in one] for one in self._order["commands"]]
            first = os.fork()
            if first == 0:
                self._become_command(words, environment)
            self._keep(first)
        except Refused as error:
            self._say(f"refused {error.step} {error.errno} {error.needed}")
        except OSError as error:
            self._say(f"refused start {error.errno} CAP_SYS_ADMIN")
        finally:
            os._exit(0)

    def _enter(self, way: Way) -> None:
        os.setsid()
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_bytes(MOST_LIKELY_KILLED)
        if self._cgroup is not None:
            self._cgroup.enter()
        way.go()
        way.become()
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGTERM, self._alone)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)

    def _keep(self, first: int) -> None:
        """Wait for everybody, until nobody is left."""
        os.closerange(0, self._said)
        os.closerange(self._said + 1, 4096)
        while True:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                return
            if pid == first:
                code = os.waitstatus_to_exitcode(status)
                self._say(f"status {code if code >= 0 else 128 - code}")

    def _alone(self, _number: int, _frame: object) -> None:
        """The steward was killed: nobody else can end what is left."""
        with contextlib.suppress(OSError):
            leftovers.kill_descendants(os.getpid())
        os._exit(1)

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._said, f"{line}\n".encode())

    def _become_command(self, commands: Sequence[list[bytes]], environment: dict[bytes, bytes]) -> NoReturn:
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setsid()
            files = self._order["files"]
            if self._order["tty"]:
                ioctl(files[0], termios.TIOCSCTTY, 0)
            for number, descriptor in enumerate(files):
                os.dup2(descriptor, number)
            os.closerange(3, self._said)
            os.closerange(self._said + 1, 4096)
            for number in range(1, signal.NSIG):
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._say("started")  # from now on a signal for its group is heard
            self._say(f"exec {_execute(commands, environment)}")
        finally:
            os._exit(127)


def _execute(commands: Sequence[list[bytes]], environment: dict[bytes, bytes]) -> int:
    """Become the first of these commands that is there; returns the error's number where none is.

    Without os.execvpe, which imports a module, and that from somebody else's file system.
    """
    worst = errno.ENOENT
    folders = environment.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin").split(b":")
    for words in commands:
        for path in [words[0]] if b"/" in words[0] else [folder + b"/" + words[0] for folder in folders if folder]:
            try:
                os.execve(path, words, environment)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    worst = error.errno or worst
    return worst
