"""`diag agent` outside, instances in containers: its folder mounted, two variables set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from containers import PYTHON, Podman
from instances import Machine
from joined import place, start_agent, stop
from machine import missing, need

# As the manifests in deploy/ allow.
CAPABILITIES = "-all,+sys_ptrace,+dac_override,+fowner,+kill"
MOUNTED = ("--env", "PYTHONPATH=/diag/probe", "--env", "DIAG_PROBE_SOCKET=/diag/s", "--env", "DIAG_NAME=shop")
DYING = """
import ctypes, os, signal, sys, time
def child(end):
    pid = os.fork()
    if pid == 0:
        end()
        os._exit(0)
    return pid
def dies():
    ctypes.string_at(0)
print(child(dies), child(lambda: os.kill(os.getpid(), 9)), "ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def machine(home: Path) -> Iterator[Machine]:
    """A machine of its own."""
    one = Machine(home)
    yield one
    one.close()


def test_instances_in_containers_join(podman: Podman, unique: str, machine: Machine, wait_for: Callable) -> None:
    """Their processes are known by the pids of this machine, and each death has its record; also where ids are mapped.

    The agent has no more capabilities than the manifests give it.
    """
    if os.geteuid() != 0:
        missing("Containers need root.")
    agent = start_agent(machine, by=(need("setpriv"), "--bounding-set", CAPABILITIES))
    options = [*MOUNTED, "--volume", f"{place(machine)}:/diag"]
    # The first one's runtime makes the mount points, which root of the second may not.
    mapped = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]
    first = {
        name: podman.run(name, PYTHON, "-c", DYING, options=[*options, *more])
        for name, more in ((unique, []), (f"{unique}mapped", mapped))
    }
    wait_for(lambda: len({one["capture_id"] for one in machine.captures()}) == 4)
    podman.close()
    stop(agent)

    for name, pid in first.items():
        records = [one for one in machine.captures() if one["instance"]["labels"]["container.name"] == name]
        assert sorted(one["level"] for one in records) == ["NATIVE", "OUTSIDE", "OUTSIDE"]
        native = next(machine.report_of(one) for one in records if one["level"] == "NATIVE")
        assert native["signal"]["name"] == "SIGSEGV"
        assert native["instance"]["runtime"].startswith("python 3.8.")
        assert {one["instance"]["name"] for one in records} == {"shop"}
        # The first process is killed by podman at the end; both children are its.
        assert sorted(one["instance"]["pid"] == pid for one in records) == [False, False, True]
        assert {(one["instance"]["parent"] or {}).get("pid") for one in records} == {None, pid}
