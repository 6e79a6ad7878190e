"""What the machine is like while a program ends: as ever, a container, a full disk, an agent that is killed, or one
that is nobody's parent."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from instances import DIAG, Ended, Machine
from joined import joining, place, start_agent, stop
from machine import TIMEOUT_S, need

from faults import residue

LIMIT_S = 180.0  # what takes longer hangs; a slow machine may take its time
_NAMESPACES = ("--pid", "--mount", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child")
# A first process that waits for its child, as the init of a container does.
_INIT = ("sh", "-c", '"$@"; exit $?', "init")


@dataclass(frozen=True, slots=True)
class Under:
    """How a command that lasts about so long runs under `diag` there.

    Where `degrades` is set nobody can promise how much a record tells, or that a process without a probe leaves any:
    not one too many, and each of them whole, is what has to hold.
    """

    run: Callable[[Machine, list[str], float, Path], Ended]
    degrades: bool = False
    joined: bool = False  # to a `diag agent`


def _as_ever(machine: Machine, command: list[str], lasts_s: float, folder: Path) -> Ended:
    return machine.run(*command, cwd=folder, start_new_session=True)


def _in_a_container(machine: Machine, command: list[str], lasts_s: float, folder: Path) -> Ended:
    """In namespaces of its own, where pids are other numbers."""
    whole = [need("unshare"), *_NAMESPACES, *_INIT, *DIAG, "run", "--", *command]
    return machine.run(*whole, run=False, cwd=folder, start_new_session=True)


def _on_a_full_disk(machine: Machine, command: list[str], lasts_s: float, folder: Path) -> Ended:
    """The spool's file system has no room: the second spool takes it all."""
    with _full(machine.home / "full") as spool:
        variables = {"DIAG_SPOOL": str(spool), "DIAG_SPOOL_SECOND": str(machine.state / "spool")}
        return machine.run(*command, cwd=folder, start_new_session=True, env=variables)


def _with_a_killed_agent(machine: Machine, command: list[str], lasts_s: float, folder: Path) -> Ended:
    """`diag run` is killed at some moment; the next `diag` finishes for it."""
    process = machine.start(*command, cwd=folder, start_new_session=True)
    while process.poll() is None and not list(machine.home.glob("run/diag/*/instance.json")):
        time.sleep(0.01)
    time.sleep(random.uniform(0, 2 * lasts_s))  # any moment is as good as another
    process.kill()
    stdout, stderr = process.communicate(timeout=LIMIT_S)  # until the program, too, lets go of its streams
    end = time.monotonic() + TIMEOUT_S
    while any(residue.running(machine)) and time.monotonic() < end:
        time.sleep(0.02)
    flushed = machine.diag("flush")
    assert flushed.status == 0, flushed.stderr
    return Ended(process.returncode, stdout, stderr)


def _joined(machine: Machine, command: list[str], lasts_s: float, folder: Path) -> Ended:
    """It joins a `diag agent`, which ends when nobody of it lives."""
    agent = start_agent(machine)
    variables = joining(machine)
    if theirs := machine.environment.get("PYTHONPATH"):
        variables["PYTHONPATH"] += f":{theirs}"
    try:
        ended = machine.run(*command, run=False, cwd=folder, start_new_session=True, env=variables)
        end = time.monotonic() + TIMEOUT_S
        while any(machine.home.glob("run/diag/*/instance.json")) and time.monotonic() < end:
            time.sleep(0.01)  # a daemon, or a worker that dies later
    finally:
        stop(agent)
        shutil.rmtree(place(machine))  # it stays for the next agent, which does not come
    return ended


WAYS = {
    "diag": Under(_as_ever),
    "container": Under(_in_a_container),
    "full-disk": Under(_on_a_full_disk),
    "killed-agent": Under(_with_a_killed_agent, degrades=True),
    "agent": Under(_joined, joined=True),
}


@contextmanager
def _full(folder: Path) -> Iterator[Path]:
    """A file system with less than a page left."""
    folder.mkdir()
    subprocess.run([need("mount"), "-t", "tmpfs", "-o", "size=64k,mode=700", "diag-full", folder], check=True)
    try:
        with (folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                try:
                    ballast.write(bytes(4096))
                except OSError:
                    break
        yield folder / "spool"
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder)
