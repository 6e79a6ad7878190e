"""A process in a fatal signal stands still until the agent has read on, in itself and in every fork."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import TIMEOUT_S, VERSIONS, python
from probed import Program, line_of, path_of
from standin import StandIn

from diag.probe.diag_probe import layout

FATAL = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL]
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts an interpreter and leaves it running; killed and reaped after the test."""
    children: list[subprocess.Popen[str]] = []

    def start(agent: StandIn, version: str, *arguments: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [python(version), *arguments],
            env=agent.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("version", VERSIONS)
def test_stands_still_until_read(version: str, stand_in: Callable[..., StandIn], spawn: Spawn) -> None:
    """A fault in C freezes the process with its stacks; read on, it dies of its own signal."""
    agent = stand_in(freezing=True)
    child = spawn(agent, version, path_of("segfault.py"))

    frozen = agent.frozen()

    assert frozen.pid == child.pid
    assert child.poll() is None
    agent.release()
    assert child.wait(TIMEOUT_S) == -signal.SIGSEGV
    agent.settle()
    assert f'segfault.py", line {line_of("segfault.py", "crash")} in crash' in frozen.text
    assert "Segmentation fault" in frozen.text
    assert agent.box().state == layout.RUNNING


@pytest.mark.parametrize("number", FATAL)
def test_every_fatal_signal(number: signal.Signals, stand_in: Callable[..., StandIn], spawn: Spawn) -> None:
    """All five signals freeze, also when they are sent from outside."""
    agent = stand_in(freezing=True)
    child = spawn(agent, "3.11", "-c", "print('up', flush=True); import threading; threading.Event().wait()")
    assert child.stdout is not None
    child.stdout.readline()

    child.send_signal(number)

    assert agent.frozen().pid == child.pid
    agent.release()
    assert child.wait(TIMEOUT_S) == -number


@pytest.mark.parametrize("version", VERSIONS)
def test_agent_that_went_away(version: str, stand_in: Callable[..., StandIn], spawn: Spawn) -> None:
    """With the agent gone a crash takes its course at once, even where SIGPIPE would kill."""
    agent = stand_in()
    code = "import signal, os; signal.signal(13, signal.SIG_DFL); print(input(), flush=True); os.abort()"
    child = subprocess.Popen(
        [python(version), "-c", code], env=agent.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    agent.wait_for(lambda: agent.connections and agent.connections[0].packets)
    agent.close()

    assert child.communicate("go\n", TIMEOUT_S)[0] == "go\n"
    assert child.returncode == -signal.SIGABRT


@pytest.mark.parametrize("version", VERSIONS)
def test_forks_have_links_of_their_own(version: str, agent: StandIn) -> None:
    """Each fork is linked by its own pid and writes a box of its own; the parent's says nothing of it."""
    done = Program(version, [path_of("fork_children.py")]).probed(agent)

    assert done.stdout.splitlines() == ["well 0", "crash 11", "exception 256"]
    parent, well, crashed, failed = agent.connections
    assert [connection.hello["forked"] for connection in agent.connections] == [False, True, True, True]
    assert [connection.hello["pid"] == connection.pid for connection in agent.connections] == [True] * 4
    assert "Segmentation fault" in crashed.text and not (parent.text + well.text + failed.text)
    assert crashed.pid != parent.pid
    fatal = agent.box(failed).fatal
    assert fatal is not None
    assert fatal["exception"]["message"] == "in the child"
    assert agent.box(failed).header["parent_pid"] == parent.pid
    assert agent.box(parent).fatal is None
    assert [agent.box(c).state for c in agent.connections] == [
        layout.LEFT_CLEANLY,
        layout.LEFT_CLEANLY,
        layout.RUNNING,
        layout.LEFT_CLEANLY,
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_fork_after_the_agent_went_away(version: str, stand_in: Callable[..., StandIn]) -> None:
    """A fork that cannot link uses nothing of its parent's: no link, no box, no hook into faulthandler."""
    agent = stand_in()
    code = (
        "import faulthandler, os, sys\n"
        "os.unlink(os.environ['DIAG_PROBE_SOCKET'])\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    print(faulthandler.is_enabled(), [n for n in os.listdir('/proc/self/fd') if int(n) > 100], flush=True)\n"
        "    os.abort()\n"
        "print(os.waitpid(pid, 0)[1] & 127)\n"
    )

    done = Program(version, ["-c", code]).probed(agent)

    assert done.stdout == "False []\n6\n"
    (connection,) = agent.connections
    assert not connection.text
    assert agent.box().state == layout.LEFT_CLEANLY


@pytest.mark.parametrize("version", VERSIONS)
def test_program_with_faulthandler(version: str, agent: StandIn, home: Path) -> None:
    """A program that uses faulthandler sees what it asked for; the box says where it wants the text."""
    program = Program(version, [path_of("own_faulthandler.py"), str(home / "log")])
    bare = program.bare()

    probed = program.probed(agent)

    assert (probed.returncode, probed.stdout) == (bare.returncode, bare.stdout)
    number = int(bare.stdout.split()[-1])
    assert agent.box().header["faulthandler_fd"] == number
    expected = f'own_faulthandler.py", line {line_of("own_faulthandler.py", "crash")} in <module>'
    assert expected in agent.connections[0].text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", [("-X", "faulthandler"), ("-X", "dev")])
def test_faulthandler_by_option(version: str, how: tuple[str, ...], agent: StandIn) -> None:
    """-X faulthandler stays enabled for the program, and the agent is told that its text belongs on stderr."""
    done = Program(version, [*how, "-c", "import faulthandler; print(faulthandler.is_enabled())"]).probed(agent)

    assert done.stdout == "True\n"
    assert agent.box().header["faulthandler_fd"] == 2


@pytest.mark.parametrize("version", ["3.8", "3.12", "3.13"])
def test_reused_number_gets_nothing_of_ours(version: str, agent: StandIn, home: Path) -> None:
    """A program that takes our descriptor's number for a file of its own finds nothing of ours in it."""
    code = (
        "import os, sys, resource, gc\n"
        "numbers = [int(n) for n in os.listdir('/proc/self/fd') if int(n) > 100]\n"
        f"fd = os.open({str(home / 'precious')!r}, os.O_WRONLY | os.O_CREAT)\n"
        "os.dup2(fd, numbers[0])\n"
        "class A:\n    def __del__(self): 1/0\n"
        "A()\n"
        "gc.collect()\n"
        "os.write(numbers[0], b'mine')\n"
        "os.abort()\n"
    )

    Program(version, ["-c", code]).probed(agent)

    assert (home / "precious").read_bytes() == b"mine"
    first, second = agent.connections
    assert (agent.box(first).state, agent.box(second).state) == (layout.RELINKED, layout.RUNNING)
    assert len(agent.box(second).events) == 1
    assert "Aborted" in second.text


@pytest.mark.parametrize("version", VERSIONS)
def test_daemon_that_closes_everything(version: str, agent: StandIn) -> None:
    """A daemon that forks twice and closes every descriptor is linked again, and freezes like any other."""
    code = (
        "import os\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "os.closerange(0, 4096)\n"
        "assert os.open('/dev/null', os.O_RDWR) == 0\n"
        "os.abort()\n"
    )

    assert Program(version, ["-c", code]).probed(agent).returncode == 0
    agent.wait_for(lambda: len(agent.connections) == 4)
    agent.settle()

    daemon = agent.connections[3]
    assert daemon.pid == agent.connections[2].pid
    assert "Aborted" in daemon.text


@pytest.mark.parametrize("version", VERSIONS)
def test_mapping_never_closes_the_programs_descriptor(version: str, agent: StandIn) -> None:
    """The number that mmap once duplicated is the program's: nothing of ours closes it, not even at the end."""
    code = (
        "import atexit, os, gc\n"
        "fd = os.open('/dev/null', os.O_RDONLY)\n"
        "class Last:\n    def __del__(self, fstat=os.fstat, fd=fd, write=os.write):\n"
        "        fstat(fd); write(1, b'still open')\n"
        "import sys; sys.keep = Last()\n"
    )

    done = Program(version, ["-c", code]).probed(agent)

    assert (done.stdout, done.stderr) == ("still open", "")


def test_box_is_private(agent: StandIn) -> None:
    """The box is 0600 whatever the umask, whole on the disk, and no descriptor points at it."""
    done = Program("3.11", ["-c", "import os; print(os.listdir('/proc/self/fd'))"], {"umask": 0o277}).probed(agent)

    status = agent.box().path.stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_blocks * 512 >= layout.SIZE
    assert done.returncode == 0
