"""`diag run` as a parent: transparent, harmless when it is hurt, and forgetful of nothing."""

from __future__ import annotations

import json
import os
import pty
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from instances import DIAG, Machine, program
from machine import PROGRAMS, TIMEOUT_S, missing, python
from moving import listed
from states import has_ended
from viewers import running

from diag.agent import history

SECRETS = ("AKIAIOSFODNN7EXAMPLE", "hunter2hunter2", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlc2lnbmF0dXJl")


def until(happened: Callable[[], object]) -> None:
    """Wait until it has happened, TIMEOUT_S at most."""
    end = time.monotonic() + TIMEOUT_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def sockets_of(pid: int) -> int:
    """How many sockets a process has open; one that it closes just now does not count."""
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(path.readlink()).startswith("socket:")
    return count


def ready(process: subprocess.Popen[str]) -> None:
    """Wait for the line by which the program says that it runs."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "ready":
            return
    raise AssertionError("the program ended before it was ready")


def child_of(process: subprocess.Popen[str]) -> int:
    """The pid of the command under this `diag run`; the guard is its other child."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    words = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    return next(pid for pid, said in words.items() if b"die.py" in b"".join(said[1:2]))


def boxes(machine: Machine) -> list[Path]:
    """The black boxes of processes that the agent has come to know."""
    return list((machine.home / "run/diag").glob("*/bb/*.*.bb"))


def known(machine: Machine) -> bool:
    """Whether an agent has written down whom it watches: one that is killed before that leaves nothing."""
    return any((machine.home / "run/diag").glob("*/instance.json"))


@pytest.mark.parametrize(("command", "status"), [("/nonexistent/program", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_run_says_so(machine: Machine, command: str, status: int) -> None:
    """127 where there is no such command, 126 where it is not executable, with one sentence, and no capture."""
    ended = machine.run(command)

    assert (ended.status, ended.stderr.count("\n")) == (status, 1)
    assert ended.stderr.startswith(f"diag: {command}: ")
    assert machine.captures() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_for_the_agent_reaches_the_command_once(machine: Machine, number: signal.Signals) -> None:
    """A signal to `diag run` is the command's; the command's end is the answer."""
    counting = (
        "import signal, sys, time\nseen = []\nsignal.signal(int(sys.argv[1]), lambda n, f: seen.append(n))\n"
        "print('ready', flush=True)\nwhile not seen: time.sleep(0.01)\ntime.sleep(0.2)\nprint(len(seen))\n"
    )
    process = machine.start(python("3.11"), "-c", counting, str(int(number)))
    ready(process)

    process.send_signal(number)

    stdout, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, stdout) == (0, "1\n")


def test_being_asked_to_stop_is_an_event(machine: Machine) -> None:
    """SIGTERM to an instance that then leaves with 0 is one event that names the signal, not a crash."""
    process = machine.start(python("3.11"), program("die.py"), "catch_term")
    ready(process)

    process.terminate()
    process.communicate(timeout=TIMEOUT_S)

    capture = machine.only_capture()
    assert (process.returncode, capture["kind"], capture["trigger"]) == (0, "event", "signal")
    assert "SIGTERM" in capture["title"]
    told = " ".join(machine.report_of(capture)["verdict"]["evidence"])
    assert f"SIGTERM was sent to the instance by pid {os.getpid()} (" in told


def test_input_and_terminal_pass_through(machine: Machine) -> None:
    """The command reads the same standard input, and a terminal stays a terminal."""
    heard = machine.start("cat", stdin=subprocess.PIPE)
    assert heard.communicate("hello\n", timeout=TIMEOUT_S)[0] == "hello\n"
    controller, terminal = pty.openpty()
    script = "import os, sys; print([os.isatty(n) for n in range(3)], flush=True)"
    process = machine.start(python("3.11"), "-c", script, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    process.wait(TIMEOUT_S)
    assert b"[True, True, True]" in os.read(controller, 1000)
    os.close(controller)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stay_closed_and_crashes_are_caught(machine: Machine, closed: str) -> None:
    """A command started with a standard stream closed finds it closed, and its end is recorded."""
    see = (
        "import os\nfrom known import wait_until_known\n"
        "for n in range(3):\n try: os.fstat(n)\n except OSError: open('seen', 'a').write(str(n))\n"
        "wait_until_known()\nos.abort()"
    )
    (machine.home / "see.py").write_text(see)
    shell = f'exec "$@" {closed}'
    command = ("sh", "-c", shell, "sh", *DIAG, "run", "--", python("3.11"), "see.py")
    ended = machine.run(*command, run=False, cwd=machine.home, env={"PYTHONPATH": str(PROGRAMS)})

    wanted = "".join(str(number) for number, mark in enumerate(("<&-", " >&-", "2>&-")) if mark in f" {closed}")
    assert (ended.status, (machine.home / "seen").read_text()) == (134, wanted)
    assert machine.only_capture()["level"] == "NATIVE"


def test_a_killed_agent_leaves_the_instance_alone(machine: Machine) -> None:
    """After kill -9 of the agent the command goes on, writes to stdout and stderr, and ends by itself."""
    process = machine.start(python("3.11"), program("die.py"), "wait_then_exit", stdin=subprocess.PIPE)
    ready(process)
    child = child_of(process)
    pidfd = os.pidfd_open(child)

    process.kill()
    process.wait(TIMEOUT_S)
    stdout, stderr = process.communicate("go\n", timeout=TIMEOUT_S)

    os.close(pidfd)
    assert stdout == "done\n"
    assert stderr == "to stderr\n"


def test_a_crash_after_the_agent_was_killed_is_found_by_the_next_diag(machine: Machine, faults: str) -> None:
    """Agent gone, then a fault: the process dies at once, and the next diag makes the record of its black box."""
    process = machine.start(python("3.11"), program("die.py"), "wait_then_fault", faults, stdin=subprocess.PIPE)
    ready(process)
    until(lambda: known(machine))
    child = child_of(process)
    process.kill()
    process.wait(TIMEOUT_S)
    process.communicate("go\n", timeout=TIMEOUT_S)
    until(lambda: has_ended(child))

    flushed = machine.diag("flush", "--json")

    capture = machine.only_capture()
    assert flushed.status == 0
    assert (capture["kind"], capture["level"]) == ("crash", "OUTSIDE")
    assert list((machine.home / "run/diag").iterdir()) == []


def test_a_daemon_that_outlives_the_instance_is_recorded_by_the_next_diag(machine: Machine) -> None:
    """What dies when the instance's first process has ended is found by its black box, once, and nothing stays."""
    script = (
        "import ctypes, os, sys\nreader, writer = os.pipe()\n"
        "if os.fork():\n print('ready', flush=True)\n sys.stdin.readline()\n sys.exit(0)\n"
        "os.close(writer)\nos.read(reader, 1)\nsys.stdin.readline()\nctypes.string_at(0)\n"
    )
    process = machine.start(python("3.11"), "-c", script, stdin=subprocess.PIPE)
    ready(process)
    until(lambda: len(boxes(machine)) == 2)  # the agent knows both
    pids = [int(box.name.partition(".")[0]) for box in boxes(machine)]
    assert process.stdin is not None
    process.stdin.write("leave\n")
    process.stdin.flush()
    process.wait(TIMEOUT_S)
    assert (machine.diag("flush").status, machine.captures()) == (0, [])
    process.communicate("go\n", timeout=TIMEOUT_S)
    until(lambda: all(map(has_ended, pids)))

    flushed = machine.diag("flush")

    capture = machine.only_capture()
    assert (process.returncode, flushed.status) == (0, 0)
    assert (capture["kind"], capture["level"]) == ("crash", "OUTSIDE")
    assert list((machine.home / "run/diag").iterdir()) == []


def test_a_stopped_agent_does_not_keep_a_crash_from_ending(machine: Machine, faults: str) -> None:
    """With the agent stopped the guard ends the freeze; when the agent goes on it records what it can."""
    process = machine.start(python("3.11"), program("die.py"), "wait_then_fault", faults, stdin=subprocess.PIPE)
    ready(process)
    child = child_of(process)
    pidfd = os.pidfd_open(child)
    process.send_signal(signal.SIGSTOP)
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()

    until(lambda: has_ended(child))

    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=TIMEOUT_S)
    os.close(pidfd)
    assert process.returncode == 128 + signal.SIGSEGV
    assert machine.only_capture()["kind"] == "crash"


def test_a_stopped_agent_does_not_keep_a_start_waiting(machine: Machine) -> None:
    """New processes of an instance start at once although its agent stands still."""
    script = (
        "import subprocess, sys\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "print(subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True, text=True).stdout, flush=True)\n"
    )
    process = machine.start(python("3.11"), "-c", script, stdin=subprocess.PIPE)
    ready(process)
    process.send_signal(signal.SIGSTOP)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()

    assert process.stdout.readline() == "1\n"

    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=TIMEOUT_S)


def test_a_killed_guard_is_replaced(machine: Machine) -> None:
    """Without its guard the instance keeps its stderr, and processes that start later are linked again."""
    script = (
        "import os, subprocess, sys\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "print('still here', file=sys.stderr, flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import os; os._exit(6)'])\n"
    )
    process = machine.start(python("3.11"), "-c", script, stdin=subprocess.PIPE)
    ready(process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    guard = next(
        int(pid) for pid in children.read_text().split() if b"diag" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(guard, signal.SIGKILL)
    until(lambda: str(guard) not in children.read_text().split() and len(children.read_text().split()) == 2)

    _, stderr = process.communicate("go\n", timeout=TIMEOUT_S)

    assert "still here" in stderr
    assert machine.only_report()["exit"]["status"] == 6


@pytest.mark.parametrize("broken", ["listen", "record_end", "look_at"])
def test_a_defect_of_ours_costs_the_record_not_the_status(machine: Machine, broken: str) -> None:
    """Whatever fails inside the agent, the command ends as it would have, and one line says that diag failed."""
    driver = (
        "import sys\nfrom diag.agent.attend import Attendant\nfrom diag.cli.run import start_quickly\n"
        f"def fail(*_): raise ZeroDivisionError('planted')\nAttendant.{broken} = fail\n"
        "sys.exit(start_quickly(sys.argv[1:]))"
    )
    ended = machine.run(sys.executable, "-c", driver, "--", python("3.11"), program("die.py"), "_exit", run=False)

    assert (ended.status, ended.stdout) == (7, "before\n")
    assert "ZeroDivisionError: planted" in ended.stderr


def test_a_crash_after_a_killed_guard_and_agent_ends_at_once(machine: Machine, faults: str) -> None:
    """The guard that replaces a killed one keeps nothing of a link open when the agent is gone too."""
    process = machine.start(python("3.11"), program("die.py"), "wait_then_fault", faults, stdin=subprocess.PIPE)
    ready(process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    child = child_of(process)
    until(lambda: any((machine.home / "run/diag").glob(f"*/bb/{child}.*.bb")))
    guard = next(int(pid) for pid in children.read_text().split() if int(pid) != child)
    os.kill(guard, signal.SIGKILL)
    until(lambda: str(guard) not in children.read_text().split() and len(children.read_text().split()) == 2)
    later = next(int(pid) for pid in children.read_text().split() if int(pid) != child)
    # The door and the agent are left, once it has closed what its fork inherited.
    until(lambda: sockets_of(later) == 2)

    process.kill()
    process.wait(TIMEOUT_S)
    process.communicate("go\n", timeout=TIMEOUT_S)

    until(lambda: has_ended(child))


def test_an_unusable_run_folder_costs_the_probe_not_the_start(machine: Machine) -> None:
    """Where the run folder cannot be made the command runs all the same, and its record says why it is poor."""
    (machine.home / "file").write_text("")

    ended = machine.run(
        python("3.11"), program("die.py"), "null", "x", env={"XDG_RUNTIME_DIR": str(machine.home / "file")}
    )

    assert ended.status == 1
    assert any("run folder" in entry["reason"] for entry in machine.only_report()["incomplete"])


def test_an_unwritable_spool_costs_nothing(machine: Machine) -> None:
    """What a spool that cannot be written refuses is kept in the second one, and stored from there."""
    (machine.home / "file").write_text("")

    ended = machine.run(
        python("3.11"), program("die.py"), "raise", env={"DIAG_SPOOL": str(machine.home / "file" / "spool")}
    )

    assert ended.status == 1
    assert "not kept" not in ended.stderr
    assert machine.only_report()["exception"]["type"] == "KeyError"


def test_without_any_spool_the_log_has_the_crash(machine: Machine) -> None:
    """Where nothing can be written the capture is one line of stderr, and said in one sentence; the status stays."""
    (machine.home / "file").write_text("")
    nowhere = str(machine.home / "file" / "spool")

    ended = machine.run(
        python("3.11"),
        program("die.py"),
        "raise",
        env={"DIAG_SPOOL": nowhere, "DIAG_SPOOL_SECOND": f"{nowhere}2"},
    )

    assert ended.status == 1
    assert "not kept" in ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("diag-capture: "))
    assert json.loads(line.removeprefix("diag-capture: "))["exception"]["type"] == "KeyError"


def test_nothing_stays_behind(machine: Machine, faults: str) -> None:
    """After a crash no process, zombie, socket or file of the run folder is left."""
    process = machine.start(python("3.11"), program("die.py"), "fork_fault", faults)
    process.communicate(timeout=TIMEOUT_S)

    def ours(environment: Path) -> bool:
        try:
            return str(machine.home).encode() in environment.read_bytes()
        except OSError:
            return False

    until(lambda: not [path for path in Path("/proc").glob("[0-9]*/environ") if ours(path)])
    assert list((machine.home / "run/diag").iterdir()) == []


@pytest.mark.parametrize("end", ["raise KeyError(said)", "os._exit(3)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_no_value_of_a_secret_variable_reaches_the_disk(machine: Machine, end: str) -> None:
    """What the environment calls a secret is masked also where nothing else gives it away."""
    planted = "correct horse battery"
    script = f"import os, sys; said = os.environ['DB_PASSWORD']; print(said, file=sys.stderr); {end}"

    machine.run(python("3.11"), "-c", script, env={"DB_PASSWORD": planted})

    assert "environment-value" in [one["rule"] for one in machine.only_capture()["redactions"]]
    assert planted.encode() not in machine.kept()


def test_no_secret_reaches_the_disk(machine: Machine) -> None:
    """Secrets in the command line, the environment, the exception and stderr are in no file of ours."""
    key, password, token = SECRETS
    script = (
        f"import sys; sys.stderr.write('Authorization: Bearer {token}\\n'); raise ValueError('password={password}')"
    )

    machine.run(
        python("3.11"), "-c", script, f"--token={token}", f"--aws={key}", env={"MY_TOKEN": token, "PASSWORD": password}
    )

    kept = machine.kept()
    assert machine.only_capture()["redactions"]
    assert [secret for secret in SECRETS if secret.encode() in kept] == []


def test_everything_kept_is_private(machine: Machine) -> None:
    """Files are 0600 in folders of 0700."""
    machine.run(python("3.11"), program("die.py"), "raise")

    modes = []
    for path in listed(machine.state, "**/*"):
        with suppress(FileNotFoundError):  # the uploader moves it just now
            modes.append(path.lstat().st_mode)
    assert {stat.S_IMODE(mode) for mode in modes if stat.S_ISREG(mode)} == {0o600}
    assert {stat.S_IMODE(mode) for mode in modes if stat.S_ISDIR(mode)} == {0o700}
    assert len(modes) == sum(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in modes)


def test_as_pid_1_it_reaps_orphans(machine: Machine) -> None:
    """In a pid namespace of its own `diag run` is the init: orphans of the command do not stay as zombies."""
    if os.geteuid() != 0:
        missing("A pid namespace needs root.")
    script = (
        "orphan=$(sh -c 'sleep 0.1 >&2 & echo $!'); turns=0; "
        "while [ -e /proc/$orphan ] && [ $turns -lt 200 ]; do sleep 0.1; turns=$((turns + 1)); done; "
        "[ -e /proc/$orphan ] && echo still there; exit 5"
    )
    unshare = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    ended = machine.run(*unshare, *DIAG, "run", "--", "sh", "-c", script, run=False)

    assert (ended.status, ended.stdout) == (5, "")


def test_labels_and_names_are_in_the_record(machine: Machine) -> None:
    """--name, --service and --label say what the instance is called."""
    machine.run(
        python("3.11"), program("die.py"), "raise", flags=("--name", "shop", "--service=web", "--label", "zone=b")
    )

    instance = machine.only_capture()["instance"]
    assert (instance["name"], instance["service"], instance["labels"]) == ("shop", "web", {"zone": "b"})


def test_a_bad_label_is_refused_before_the_start(machine: Machine) -> None:
    """A label that is not k=v is a usage error, and nothing is started."""
    ended = machine.run("echo", "started", flags=("--label", "zone"))

    assert (ended.status, ended.stdout) == (2, "")
    assert "k=v" in ended.stderr


def test_an_upload_outlives_the_instance(machine: Machine) -> None:
    """Nobody waits for the viewer: it has the capture soon after the agent has ended."""
    with running(machine.home / "viewer") as viewer:
        ended = machine.run(python("3.11"), program("die.py"), "raise", env={"DIAG_STORE": viewer.url})

        assert ended.status == 1
        until(lambda: listed(viewer.store, "v1/**/manifest.json"))
    assert len(listed(viewer.store, "v1/**/manifest.json")) == 1


def test_an_uploader_that_has_ended_leaves_no_zombie(machine: Machine) -> None:
    """While the instance lives on, the agent holds neither the process nor what is left of it."""
    script = (
        "import os, sys\n"
        "if os.fork() == 0: raise ValueError('child')\n"
        "os.wait()\nprint('died', flush=True)\nsys.stdin.readline()\n"
    )
    lock = machine.home / ".local/state/diag/spool/uploader.lock"
    with running(machine.home / "viewer") as viewer:
        process = machine.start(python("3.11"), "-c", script, env={"DIAG_STORE": viewer.url}, stdin=subprocess.PIPE)
        assert process.stdout and process.stdout.readline() == "died\n"
        until(lambda: lock.exists() and lock.read_text())
        uploader = Path("/proc") / lock.read_text().split()[0]
        until(lambda: not uploader.exists())
        assert process.poll() is None
        assert len(list(viewer.store.glob("v1/**/manifest.json"))) == 1
        process.communicate("\n", timeout=TIMEOUT_S)
    assert process.returncode == 0


def test_a_down_viewer_delays_nothing_and_loses_nothing(machine: Machine) -> None:
    """With the viewer down the capture waits in the spool, and `diag flush` says so with exit code 5."""
    nowhere = {"DIAG_STORE": "http://127.0.0.1:9"}
    ended = machine.run(python("3.11"), program("die.py"), "raise", env=nowhere)

    flushed = machine.diag("flush", "--json", env=nowhere)

    assert (ended.status, flushed.status) == (1, 5)
    assert json.loads(flushed.stdout)["pending"] == 1
    assert machine.only_capture()["level"] == "FULL"


def test_a_death_nobody_saw_coming_has_its_last_minutes(machine: Machine) -> None:
    """After SIGKILL the report shows what the process had used, which was measured while it lived."""
    growing = (
        "import os, signal\nkept = bytearray(b'x') * (80 << 20)\n"
        "print('ready', flush=True)\nprint(os.getpid(), flush=True)\nsignal.pause()\n"
    )
    process = machine.start(python("3.11"), "-c", growing)
    ready(process)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    until(lambda: any(sample.rss and sample.rss > 80 << 20 for sample in history.read(next(rings(machine), None))))

    os.kill(pid, signal.SIGKILL)

    process.communicate(timeout=TIMEOUT_S)
    report = machine.only_report()
    assert report["timeline"]["samples"][-1]["rss"] > 80 << 20
    assert report["resourceUsage"]["rss"] > 80 << 20
    assert list(rings(machine)) == []


def rings(machine: Machine) -> Iterator[Path]:
    """The files in which the agent keeps what each process used."""
    return iter(listed(machine.home / "run", "**/*.history"))


def test_a_crash_loop_is_counted_and_sampled(machine: Machine) -> None:
    """Of many deaths of one cause the first and the last are whole, every one is counted, and another cause is kept."""
    process = machine.start(python("3.11"), program("crash_loop.py"), "150")
    stdout, stderr = process.communicate(timeout=6 * TIMEOUT_S)
    pids = [int(line) for line in stdout.splitlines()]

    captures = machine.captures()
    kept = [manifest["instance"]["pid"] for manifest in captures]
    assert (process.returncode, len(pids)) == (0, 150)
    assert {pids[0], pids[50], pids[-1]} <= set(kept)
    assert sum(1 + manifest["repeats"] for manifest in captures) == 150
    account = json.loads(machine.diag("flush", "--json").stdout)
    assert account["received"] == 150 == len(captures) + account["dropped"].get("sampled", 0)
    groups = json.loads(machine.diag("ls", "--groups", "--json").stdout)
    assert sorted(group["times"] for group in groups) == [1, 149]
    assert stderr.count("read it with: diag show") == len(captures)
