"""diag asks a live program, the probe answers, and the program never notices."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import TIMEOUT_S, VERSIONS, python
from probed import path_of
from standin import StandIn

from diag.agent.registry import start_ticks
from diag.collectors import questions
from diag.collectors.collector import Subject
from diag.errors import Busy, NoSuchInstance
from diag.model import Instance
from diag.probe.diag_probe import layout

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(agent: StandIn) -> Iterator[Start]:
    """Start the program with the probe in it; returns when it has said "ready"."""
    started: list[subprocess.Popen[str]] = []

    def run(version: str, *arguments: str, through: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*through, python(version), path_of("asked.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=agent.environment(),
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


def subject(agent: StandIn, pid: int, standing: str | None = None) -> Subject:
    """The process as diag sees it, its box under the name that the agent gives it."""
    ticks = start_ticks(pid)
    assert ticks is not None
    final = agent.boxes / (layout.BOX_NAME % (pid, ticks))
    if not final.exists():
        agent.wait_for(lambda: any(link.pid == pid and link.packets for link in agent.connections))
        (link,) = [link for link in agent.connections if link.pid == pid]
        (agent.boxes / link.hello["box"]).rename(final)
    instance = Instance(service="s", name="n", instance_id="i", host="h", pid=pid, start_time="", runtime="python")
    return Subject(instance, pid, ticks, "python", standing, agent.boxes.parent)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Let the program end; how it did."""
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", ["compute", "wait_for_a_lock", "read", "loop"])
def test_answers(version: str, way: str, agent: StandIn, start: Start) -> None:
    """Whatever the main thread does, and twice; the program goes on as if nothing had been."""
    process = start(version, way)
    who = subject(agent, process.pid)

    first = questions.ask(who, "heap", patience_s=TIMEOUT_S)
    second = questions.ask(who, "heap", patience_s=TIMEOUT_S)

    assert first.value["allocatedBlocks"] > 1000
    assert second.value["time"] >= first.value["time"]
    assert 0 < second.held_s < TIMEOUT_S
    assert ended(process) == (0, "", "")


def test_fork_answers_for_itself(agent: StandIn, start: Start) -> None:
    """A forked child has a box of its own, and listens."""
    process = start("3.11", "fork")
    agent.wait_for(lambda: len(agent.connections) == 2)
    child = agent.connections[1].pid

    assert questions.ask(subject(agent, child), "heap", patience_s=TIMEOUT_S).value["gcEnabled"] is True

    os.kill(child, signal.SIGKILL)
    assert ended(process)[0] == 0


def test_a_signal_that_nobody_noticed_is_sent_again(
    agent: StandIn, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes right before the main thread begins to wait does not wake it; the next one does."""
    process = start("3.11", "wait_for_a_lock")
    sent: list[int] = []
    send = signal.pidfd_send_signal

    def losing_the_first(pidfd: int, number: int) -> None:
        sent.append(number)
        if len(sent) > 1:
            send(pidfd, number)

    monkeypatch.setattr(signal, "pidfd_send_signal", losing_the_first)

    assert questions.ask(subject(agent, process.pid), "heap", patience_s=TIMEOUT_S).value["allocatedBlocks"] > 1000
    assert ended(process)[0] == 0


def test_another_user_answers(agent: StandIn, start: Start) -> None:
    """A process that is somebody else since, as workers are, cannot open a file of ours, and answers all the same."""
    process = start("3.11", "change_user")

    assert questions.ask(subject(agent, process.pid), "heap", patience_s=TIMEOUT_S).value["allocatedBlocks"] > 1000


def test_another_network_answers(agent: StandIn, start: Start) -> None:
    """The answer is awaited where the process is, whatever network that has."""
    process = start("3.11", "compute", through=("unshare", "--net"))

    assert questions.ask(subject(agent, process.pid), "heap", patience_s=TIMEOUT_S).value["allocatedBlocks"] > 1000


def test_the_programs_own_time_outs_reach_it(agent: StandIn, start: Start) -> None:
    """An exception that another signal's handler raises while the probe answers is the program's, and gets there."""
    process = start("3.11", "time_out")
    who = subject(agent, process.pid)
    answered = 0
    for _ in range(200):
        try:
            questions.ask(who, "heap", patience_s=1)
            answered += 1
        except questions.NotAnswered:  # the program's exception cut it short
            continue

    assert answered > 0
    assert ended(process) == (0, "missed 0\n", "")


def test_unknown_question(agent: StandIn, start: Start) -> None:
    """It is said what the probe could not do; the program goes on."""
    process = start("3.11", "compute")

    with pytest.raises(questions.NotAnswered, match="KeyError"):
        questions.ask(subject(agent, process.pid), "nonsense", patience_s=TIMEOUT_S)

    assert ended(process) == (0, "", "")


def test_signal_without_a_question(agent: StandIn, start: Start) -> None:
    """A stray SIGURG does nothing."""
    process = start("3.11", "compute")
    for _ in range(10):
        process.send_signal(signal.SIGURG)

    assert questions.ask(subject(agent, process.pid), "heap", patience_s=TIMEOUT_S)
    assert ended(process) == (0, "", "")


@pytest.mark.parametrize(("way", "said"), [("block", "does not listen"), ("stuck", "does not come back")])
def test_who_cannot_answer(way: str, said: str, agent: StandIn, start: Start) -> None:
    """The reason is told, and nothing is left in the box."""
    process = start("3.11", way)
    who = subject(agent, process.pid)

    with pytest.raises(questions.NotAnswered, match=said):
        questions.ask(who, "heap", patience_s=0.5)

    box = (agent.boxes / (layout.BOX_NAME % (who.pid, who.start_ticks))).read_bytes()
    assert box[layout.QUESTION_AT : layout.QUESTION_AT + 4] == bytes(4)


def test_signal_that_the_program_took(agent: StandIn, start: Start) -> None:
    """Its own handler runs, as for any SIGURG, and the question is taken back."""
    process = start("3.11", "take")

    with pytest.raises(questions.NotAnswered):
        questions.ask(subject(agent, process.pid), "heap", patience_s=0.5)

    assert ended(process) == (0, "heard\n", "")


def test_stopped(agent: StandIn, start: Start) -> None:
    """It is said who holds it, and it is not continued."""
    process = start("3.11", "compute")
    process.send_signal(signal.SIGSTOP)

    with pytest.raises(questions.NotAnswered, match="stopped by somebody"):
        questions.ask(subject(agent, process.pid, "stopped by somebody"), "heap")


def test_ends_meanwhile(agent: StandIn, start: Start) -> None:
    """A process that ends before it answers is told from one that is slow."""
    process = start("3.11", "stuck")
    who = subject(agent, process.pid)
    killer = threading.Timer(0.3, process.kill)
    killer.start()

    with pytest.raises(NoSuchInstance):
        questions.ask(who, "heap", patience_s=TIMEOUT_S)

    killer.join()


def test_has_ended(agent: StandIn, start: Start) -> None:
    """A process that nobody has waited for yet is no program that does not listen."""
    process = start("3.11", "compute")
    who = subject(agent, process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(NoSuchInstance):
        questions.ask(who, "heap")


def test_one_at_a_time(agent: StandIn, start: Start) -> None:
    """A second diag is told that another one is asking."""
    process = start("3.11", "compute")
    who = subject(agent, process.pid)
    holder = subprocess.Popen(
        ["flock", str(agent.boxes / (layout.BOX_NAME % (who.pid, who.start_ticks))), "sh", "-c", "echo held; read _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    with pytest.raises(Busy):
        questions.ask(who, "heap")

    holder.communicate(timeout=TIMEOUT_S)
    assert questions.ask(who, "heap", patience_s=TIMEOUT_S)


def test_no_probe(home: Path) -> None:
    """A process without a probe is told from one that does not answer."""
    instance = Instance(service="s", name="n", instance_id="i", host="h", pid=1, start_time="", runtime="python")

    with pytest.raises(questions.NotAnswered, match="no probe"):
        questions.ask(Subject(instance, os.getpid(), 1, "python", None, None), "heap")
