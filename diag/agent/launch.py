"""Starts the command with the probe injected."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from diag.agent import go_trace, node_options, signals
from diag.agent.door import SOCKET_NAME, Door
from diag.probe import FOLDER
from diag.probe.diag_probe import layout

NOT_FOUND, NOT_EXECUTABLE = 127, 126


class CannotExecute(Exception):
    """The command was not started; `status` is what a shell would exit with."""

    def __init__(self, command: str, error: OSError) -> None:
        super().__init__(f"{command}: {error.strerror}")
        self.status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def occupy_standard_descriptors() -> None:
    """Put /dev/null where 0, 1 or 2 is closed, so that nothing of ours gets the number; the command finds it closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def launch(command: list[str], door: Door, announce: Callable[[int], None], *, with_locals: bool = False) -> None:
    """Start the command. Raises CannotExecute.

    `announce` is called with the pid before the command runs: whatever happens from then on, the next diag knows of it.
    """
    environment = dict(os.environ)
    if door.no_probe is None:
        node_options.inject(command, environment, door.folder)
        inject(environment, door.folder / SOCKET_NAME, with_locals=with_locals)
    if door.is_go and door.no_tail is None:  # elsewhere nobody would take the other goroutines out of stderr again
        environment.setdefault(go_trace.VARIABLE, "all")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    signals.block()
    try:
        _start_child(command, environment, door.stderr, mask, announce)
    finally:
        door.child_started()


def inject(environment: dict[str, str], socket_path: Path, *, with_locals: bool) -> None:
    """Put the probe into a child's environment; what the user set is kept, behind ours."""
    theirs = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{FOLDER}:{theirs}" if theirs else str(FOLDER)
    environment[layout.ENV_SOCKET] = str(socket_path)
    if with_locals:
        environment[layout.ENV_LOCALS] = "1"


def _start_child(
    command: list[str],
    environment: Mapping[str, str],
    stderr: int | None,
    mask: set[int],
    announce: Callable[[int], None],
) -> None:
    """Fork, announce, exec; what exec refuses comes back through a pipe that closes when it succeeds."""
    heard, told = os.pipe()
    held, released = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(released)
        if not os.read(held, 1):
            os._exit(NOT_EXECUTABLE)  # the agent was killed: nothing of the command has happened
        _become(command, environment, stderr, mask, told)
    os.close(told)
    os.close(held)
    announce(pid)
    os.write(released, b"\1")
    os.close(released)
    with os.fdopen(heard, "rb") as pipe:
        refused = pipe.read()
    if refused:
        os.waitpid(pid, 0)
        number = int(refused)
        raise CannotExecute(command[0], OSError(number, os.strerror(number)))


def _become(command: list[str], environment: Mapping[str, str], stderr: int | None, mask: set[int], told: int) -> None:
    try:
        if stderr is not None:
            os.dup2(stderr, 2)
        # Python ignores these two for itself; a program expects the default.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvpe(command[0], command, environment)
    except OSError as error:
        os.write(told, str(error.errno).encode())
    finally:
        os._exit(NOT_EXECUTABLE)
