"""`diag memory` of Python and of programs of any make: who holds it, what grows, and that nothing stays switched on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from instances import DIAG, Machine, program
from machine import TIMEOUT_S, need, python
from states import States

from diag.collectors.procfs import kib, parse_status
from diag.profiles import formats, tables
from diag.profiles.model import Profile

ROOT = Path(__file__).parents[2]
OWN = sys.executable  # the only interpreter here that has memray
TRACING = "__import__('_tracemalloc').is_tracing()"
TRACKING = "bool(getattr(sys.modules.get('diag_probe.tracker'), 'state', None))"
ON = {"tracemalloc": TRACING, "memray": TRACKING, "objects": "'diag_probe.census' in sys.modules"}


@dataclass
class Recording:
    """The program, and the diag that looks at it."""

    child: subprocess.Popen[str]
    process: subprocess.Popen[str]
    engine: str

    @property
    def on(self) -> str:
        """What the program is asked to learn whether it is recorded."""
        return ON[self.engine]

    @property
    def is_on(self) -> bool:
        """Whether it is; of a count, whether it has begun."""
        return told(self.child, self.on) == "True"


@pytest.fixture
def machine(home: Path) -> Iterator[Machine]:
    """A machine on which nothing was caught yet."""
    machine = Machine(home)
    yield machine
    machine.close()


@pytest.fixture
def growing(machine: Machine, wait_for: Callable) -> Callable[..., subprocess.Popen[str]]:
    """Starts the program that grows under `diag run`, as the instance `shop`, and waits until the agent knows it."""

    def start(interpreter: str, *options: str) -> subprocess.Popen[str]:
        command = [interpreter, *options, program("growing.py")]
        process = machine.start(*command, flags=("--name", "shop"), stdin=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_for(lambda: known(machine))
        return process

    return start


@pytest.fixture
def recording(machine: Machine, growing: Callable, wait_for: Callable) -> Callable[..., Recording]:
    """Starts the program, and a capture of it by this engine that goes on until it is ended."""

    def start(engine: str) -> Recording:
        child = growing(OWN)
        command = [*DIAG, "memory", "shop", "--engine", engine, "-d", "600"]
        process = machine.start(*command, run=False)
        one = Recording(child, process, engine)
        wait_for(lambda: one.is_on or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        return one

    return start


def keepers() -> list[str]:
    """The processes of this tree that see to it that recordings are ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes()
            if b"diag.collectors.keeping" in words and os.fsencode(ROOT) in words:
                found.append(path.parent.name)
    return found


def known(machine: Machine) -> bool:
    """Whether the agent has given the probe's box its final name, by which it is asked."""
    return any((machine.home / "run/diag").glob("*/bb/[0-9]*.[0-9]*.bb"))


def told(process: subprocess.Popen[str], expression: str) -> str:
    """What the program says of itself."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(expression + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def file(machine: Machine, name: str) -> bytes:
    """A file of the newest capture of memory."""
    newest = [one for one in machine.captures() if one["kind"] == "memory"][-1]
    return machine.artifact(newest, name)


def summary(machine: Machine) -> dict[str, Any]:
    """The summary of the newest capture of memory."""
    found: dict[str, Any] = json.loads(file(machine, "memory.json"))
    return found


def profile(machine: Machine) -> Profile:
    """The profile of the newest capture of memory."""
    return formats.read(file(machine, "profile.pb.gz"))


def below(one: Profile, function: str, column: str) -> int:
    """The bytes that were allocated in this function and in what it calls."""
    found = tables.by_frame(one, one.column(column), lambda frame: frame.function)
    return found[function].total if function in found else 0


def state(pid: int) -> str:
    """The kernel's letter for a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_any_process_has_mappings(start: Callable, machine: Machine) -> None:
    """Of a pid of nobody's: what holds it, what grew, and how to learn more; it is never stopped."""
    child = start("growing.py")

    with States(child.pid) as states:
        ended = machine.diag("memory", str(child.pid), "-d", "1")

    assert ended.status == 0, ended.stderr
    assert "diag run" in ended.stderr
    assert "resident" in ended.stdout
    assert not states.seen & set("tT")
    mappings = summary(machine)["mappings"]
    status = parse_status(Path(f"/proc/{child.pid}/status").read_text())
    assert 0.5 * (kib(status, "VmRSS") or 0) < mappings["process"]["rss"] <= 1.1 * (kib(status, "VmRSS") or 0)
    sizes = [row["rss"] for row in mappings["groups"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {row["kind"] for row in mappings["groups"]} >= {"anonymous", "heap", "stack", "file"}
    assert sum(row["growth"]["rss"] for row in mappings["groups"]) == mappings["process"]["growth"]["rss"] > 0
    manifest = machine.only_capture()
    assert (manifest["kind"], manifest["trigger"], manifest["cost"]["pause_s"]) == ("memory", "api", 0)
    assert [artifact["name"] for artifact in manifest["artifacts"]] == ["memory.json"]


def test_a_stopped_process_stays_stopped(start: Callable, machine: Machine) -> None:
    """Its mappings are read all the same, and it is said who holds it."""
    child = start("growing.py")
    child.send_signal(signal.SIGSTOP)

    ended = machine.diag("memory", str(child.pid))

    assert ended.status == 0, ended.stderr
    assert "was stopped, and was left so" in ended.stderr
    assert state(child.pid) == "T"


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_objects_by_type(version: str, growing: Callable, machine: Machine) -> None:
    """Every object once, also those that the collector does not know; which become more; the largest; what it cost."""
    child = growing(python(version))

    ended = machine.diag("memory", "shop", "--engine", "objects", "-d", "1", "--json")

    assert ended.status == 0, ended.stderr
    assert "main thread stands still" in ended.stderr
    types = json.loads(ended.stdout)["types"]
    rows = {row["name"]: row for row in types["rows"]}
    orders = rows["__main__.Order"]
    assert orders["growth"]["count"] > 0
    assert orders["count"] <= rows["str"]["count"] < orders["count"] + 20_000
    assert rows["bytearray"]["count"] == pytest.approx(orders["count"], abs=100)
    assert rows["bytearray"]["bytes"] > 2000 * orders["count"]
    assert types["growth"]["bytes"] > 0
    assert max(row["length"] for row in types["largest"] if row["name"] == "dict") == pytest.approx(
        orders["count"], abs=100
    )
    assert machine.only_capture()["cost"]["pause_s"] > 0
    assert int(told(child, "len(CACHE)")) > orders["count"]


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_tracemalloc_for_a_time(version: str, growing: Callable, machine: Machine) -> None:
    """What was allocated and kept, by function although CPython tells lines alone; then it is off again."""
    child = growing(python(version))

    ended = machine.diag("memory", "shop", "--engine", "tracemalloc", "-d", "1", "-f", "collapsed", cwd=machine.home)

    assert ended.status == 0, ended.stderr
    assert "a thirtieth of its speed" in ended.stderr
    assert "load (growing.py)" in ended.stdout
    assert told(child, TRACING) == "False"
    one = profile(machine)
    assert below(one, "load", "inuse_space") > 0.8 * one.total(one.column("inuse_space")) > 0
    assert below(one, "turn", "inuse_space") >= below(one, "load", "inuse_space")
    assert not any("diag_probe" in frame.file for index in range(len(one)) for frame in one.frames_of(index))
    (collapsed,) = machine.home.glob("memory.shop.*.collapsed.txt")
    assert b"turn" in collapsed.read_bytes()


def test_a_tracing_of_the_programs_own_goes_on(growing: Callable, machine: Machine) -> None:
    """It is used, growth is told beside what is in use, and it stays on."""
    child = growing(python("3.11"), "-X", "tracemalloc=3")

    ended = machine.diag("memory", "shop", "--engine", "tracemalloc", "-d", "1")

    assert ended.status == 0, ended.stderr
    assert told(child, TRACING) == "True"
    one = profile(machine)
    grown, in_use = below(one, "load", "growth_space"), below(one, "load", "inuse_space")
    assert 0 < grown < in_use


def test_memray_for_a_time(growing: Callable, machine: Machine) -> None:
    """What is kept and what there was at the peak, with whole stacks; then it is off, and its file is gone."""
    child = growing(OWN)

    ended = machine.diag("memory", "shop", "--engine", "memray", "-d", "1")

    assert ended.status == 0, ended.stderr
    assert "half of its speed" in ended.stderr
    assert told(child, TRACKING) == "False"
    one = profile(machine)
    for column in ("inuse_space", "peak_space"):
        assert below(one, "load", column) > 0
        assert below(one, "<module>", column) == pytest.approx(one.total(one.column(column)), rel=0.2)
    assert list((machine.home / "run/diag").glob("*/memray.*")) == []
    assert machine.only_capture()["incomplete"] == []
    assert child.communicate(timeout=TIMEOUT_S) == ("", "")  # memray says nothing in its name


def test_auto_takes_memray_or_counts(growing: Callable, machine: Machine) -> None:
    """memray where the program can import it, a count where it cannot; and what is missing is named."""
    growing(python("3.8"))

    ended = machine.diag("memory", "shop", "--json")
    refused = machine.diag("memory", "shop", "--engine", "memray")

    assert json.loads(ended.stdout)["engine"] == "objects"
    assert refused.status == 4
    assert "pip install 'memray>=" in refused.stderr


def test_a_main_thread_that_does_not_come_back(machine: Machine, wait_for: Callable) -> None:
    """Where the probe does not answer `auto` takes the mappings, and says why."""
    stuck = [python("3.11"), program("asked.py"), "stuck"]
    process = machine.start(*stuck, flags=("--name", "shop"), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    wait_for(lambda: known(machine))
    try:
        ended = machine.diag("memory", "shop", "--json")
    finally:
        # Nothing but a signal ends it, and the agent ends when it has ended.
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    assert ended.status == 0, ended.stderr
    assert "does not come back" in ended.stderr
    assert json.loads(ended.stdout)["engine"] == "smaps"


@pytest.mark.parametrize("engine", ["tracemalloc", "memray"])
def test_a_killed_diag_leaves_nothing_on(
    engine: str, recording: Callable, machine: Machine, wait_for: Callable
) -> None:
    """SIGKILL in the middle: what was started in the program is ended all the same, and its file goes."""
    one = recording(engine)

    one.process.kill()

    wait_for(lambda: not one.is_on)
    wait_for(lambda: keepers() == [])
    wait_for(lambda: list((machine.home / "run/diag").glob("*/memray.*")) == [])


@pytest.mark.parametrize("engine", ["tracemalloc", "memray"])
def test_a_fork_is_not_traced(engine: str, recording: Callable, machine: Machine) -> None:
    """A child that the program forks meanwhile is not traced: nobody would end that. Ctrl-C keeps what there is."""
    one = recording(engine)

    assert told(one.child, f"told_by_a_child({one.on!r})") == "False"

    one.process.send_signal(signal.SIGINT)
    _, stderr = one.process.communicate(timeout=TIMEOUT_S)
    assert one.process.returncode == 0, stderr
    assert below(profile(machine), "load", "inuse_space") > 0
    assert not one.is_on


@pytest.mark.parametrize("engine", ["objects", "tracemalloc", "memray"])
def test_a_program_that_ends_meanwhile(engine: str, recording: Callable, machine: Machine, wait_for: Callable) -> None:
    """What was seen until then is kept, and it is said what is missing."""
    one = recording(engine)

    os.kill(int(told(one.child, "os.getpid()")), signal.SIGKILL)

    _, stderr = one.process.communicate(timeout=TIMEOUT_S)
    assert one.process.returncode == 0, stderr
    assert "ended while it was captured" in stderr
    found = summary(machine)
    assert found["mappings"]["process"]["rss"] > 0
    assert bool(found["types"]) == (engine == "objects")
    wait_for(lambda: keepers() == [])


def test_one_at_a_time(recording: Callable, machine: Machine) -> None:
    """A second capture of the process is refused in a sentence."""
    one = recording("tracemalloc")

    ended = machine.diag("memory", "shop", "--engine", "smaps")

    one.process.send_signal(signal.SIGINT)
    one.process.communicate(timeout=TIMEOUT_S)
    assert ended.status == 1
    assert "Another capture" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--engine", "objects"), 3, "diag run"),
        (("--engine", "node"), 2, "for Node"),
        (("--engine", "go"), 2, "for Go"),
        (("--snapshot",), 2, "for Node"),
        (("-d", "3601"), 2, "3601"),
        (("-f", "pprof"), 2, "-f json"),
        (("-o", "/nowhere/at.all"), 1, "/nowhere/at.all"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], status: int, said: str, start: Callable, machine: Machine
) -> None:
    """Each refusal has its exit status and says what to do."""
    child = start("growing.py")

    ended = machine.diag("memory", str(child.pid), *arguments)

    assert ended.status == status
    assert said in ended.stderr


def test_another_users_process(start: Callable, home: Path, as_nobody: Callable) -> None:
    """Without permission: exit 3, with the capability that is missing."""
    need("setpriv")
    child = start("growing.py")
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *DIAG, "memory", str(child.pid)]
    home.chmod(0o711)

    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    assert ended.returncode == 3
    assert "CAP_SYS_PTRACE" in ended.stderr


def test_shown_in_the_terminal(growing: Callable, machine: Machine) -> None:
    """`diag show` prints the answer, the types and the mappings; the doctor knows the engines."""
    growing(OWN)
    assert machine.diag("memory", "shop", "--engine", "objects").status == 0

    shown = machine.diag("show", machine.only_capture()["capture_id"], "--all")
    doctor = machine.diag("doctor", "shop")

    assert shown.status == 0, shown.stderr
    assert "OBJECTS BY TYPE" in shown.stdout
    assert "__main__.Order" in shown.stdout
    assert "MAPPINGS" in shown.stdout
    for engine in ("memray", "objects", "tracemalloc", "smaps"):
        assert f"memory {engine}" in doctor.stdout
    assert "memory node" not in doctor.stdout
