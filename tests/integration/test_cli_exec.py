"""`diag exec`: a command beside a process, in its namespaces, as its user, and nothing of it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import Podman
from machine import TIMEOUT_S, need

EXEC = [sys.executable, "-m", "diag", "exec"]
# A daemon: no parent, no session, no terminal, no output of its own. It is ready when it sleeps.
DAEMON = "(setsid /bin/sleep {0} >/dev/null 2>&1 </dev/null &); until ps | grep -q '[/]bin/sleep {0}$'; do :; done"


def manifest(home: Path) -> dict[str, Any]:
    """The manifest of the one capture."""
    (path,) = home.rglob("store/v1/default/*/*/*/*/*/manifest.json")
    return json.loads(path.read_text())


def cast(home: Path) -> tuple[dict[str, Any], str]:
    """The transcript's header, and all of its output."""
    (path,) = home.rglob("store/**/transcript.cast")
    header, *events = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(len(event) == 3 for event in events)
    return header, "".join(event[2] for event in events if event[1] == "o")


def marked(word: str) -> list[int]:
    """The processes whose command line holds this word, ours aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


def children(pid: int) -> list[int]:
    """The children of a process, none where it has ended."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts commands, and kills those that a failed test has left."""
    begun: list[subprocess.Popen[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.Popen[str]:
        begun.append(subprocess.Popen(command, **options))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def nap() -> str:
    """A number of seconds to sleep for that no other process names."""
    return f"{100000 + int.from_bytes(os.urandom(3), 'big')}"


def test_streams_and_status_are_the_commands_own(start: Callable, diag: Callable, home: Path) -> None:
    """stdout, stderr and the exit status come through as they are; the transcript has both, and the end."""
    child = start("sleeping_threads.py")

    answer = diag("exec", str(child.pid), "-q", "--", "sh", "-c", "echo out; echo err >&2; exit 7")

    assert (answer.returncode, answer.stdout, answer.stderr) == (7, "out\n", "err\n")
    header, output = cast(home)
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert sorted(output.splitlines()) == ["err", "out"]
    found = manifest(home)
    assert (found["kind"], found["trigger"], found["cost"]["pause_s"]) == ("exec", "api", 0)
    assert found["title"].startswith("exec: sh -c 'echo out; echo err >&2; exit 7' (exit 7, ")
    (artifact,) = found["artifacts"]
    assert (artifact["kind"], artifact["format"]) == ("transcript", "asciicast")
    assert artifact["content_type"] == "application/x-asciicast"


def test_input_is_passed_on(start: Callable, home: Path) -> None:
    """Standard input reaches the command, its end too, and none of it stands in the transcript by itself."""
    child = start("sleeping_threads.py")

    answer = subprocess.run(
        [*EXEC, "-q", str(child.pid), "--", "sh", "-c", "wc -c"],
        input="x" * 300_000,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert (answer.returncode, answer.stdout.strip()) == (0, "300000")
    assert "xxx" not in cast(home)[1]


def test_what_was_taken_is_said_on_stderr(start: Callable, diag: Callable) -> None:
    """Three facts, the page and the way to the files; stdout belongs to the command."""
    child = start("sleeping_threads.py")

    answer = diag("exec", str(child.pid), "--", "true")

    assert answer.stdout == ""
    lines = answer.stderr.splitlines()
    assert lines[0].startswith("exit 0 after ")
    assert lines[1:3] == [f"beside it, as uid {os.geteuid()}", "nothing was left running"]
    assert [line.split()[0] for line in lines[3:]] == ["page", "files"]


@pytest.mark.parametrize(("command", "status"), [("kill -TERM $$", 143), ("kill -SEGV $$", 139)])
def test_death_by_a_signal_is_128_and_its_number(start: Callable, diag: Callable, command: str, status: int) -> None:
    """A command that a signal ended says so as a shell would."""
    child = start("sleeping_threads.py")
    assert diag("exec", str(child.pid), "-q", "--", "sh", "-c", command).returncode == status


@pytest.mark.parametrize(("word", "status"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_be_started(start: Callable, diag: Callable, home: Path, word: str, status: int) -> None:
    """It is said in one sentence, with a shell's status, and there is no capture of nothing."""
    child = start("sleeping_threads.py")

    answer = diag("exec", str(child.pid), "--", word)

    assert answer.returncode == status
    assert answer.stderr.startswith(f"diag: {word}: ")
    assert list(home.rglob("manifest.json")) == []


def test_time_limit_ends_the_whole_tree(start: Callable, diag: Callable, home: Path, nap: str) -> None:
    """At its time limit the command ends with all that it has started; the transcript up to then is kept."""
    child = start("sleeping_threads.py")
    script = f"echo before; setsid sleep {nap} & trap '' TERM; sleep {nap}"

    answer = diag("exec", "--timeout", "3", str(child.pid), "--", "sh", "-c", script)

    assert answer.returncode == 124
    assert marked(nap) == []
    assert cast(home)[1] == "before\r\n"
    assert [gap["section"] for gap in manifest(home)["incomplete"]] == ["command"]


def test_silence_ends_it(start: Callable, diag: Callable, home: Path, nap: str) -> None:
    """A command that nobody hears of for too long is ended, and the capture says why."""
    child = start("sleeping_threads.py")
    answer = diag("exec", "--idle-timeout", "1", str(child.pid), "--", "sleep", nap)
    assert answer.returncode == 124
    assert "nothing was written or typed" in manifest(home)["incomplete"][0]["reason"]
    assert marked(nap) == []


def test_interrupt_goes_to_the_command(begin: Callable, start: Callable, home: Path) -> None:
    """Ctrl-C is the command's: it may handle it, and its own status counts."""
    child = start("sleeping_threads.py")
    command = ["sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"]
    running = begin([*EXEC, "-q", str(child.pid), "--", *command], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"

    running.send_signal(signal.SIGINT)

    assert running.communicate(timeout=TIMEOUT_S)[0] == "caught\n"
    assert running.returncode == 5
    assert "caught" in cast(home)[1]


def test_an_early_interrupt_is_not_lost(begin: Callable, start: Callable, wait_for: Callable, nap: str) -> None:
    """Ctrl-C while the command is being started ends it, as later."""
    child = start("sleeping_threads.py")
    running = begin([*EXEC, "-q", str(child.pid), "--", "sleep", nap])

    def forked() -> bool:
        """Whether the process that becomes the command is there."""
        (steward, *_) = [*children(running.pid), 0]
        keepers = children(steward) if steward else []
        return any(children(keeper) for keeper in keepers)

    wait_for(forked)
    running.send_signal(signal.SIGINT)

    assert running.wait(TIMEOUT_S) == 130
    assert marked(nap) == []


def test_termination_ends_it_and_keeps_it(begin: Callable, start: Callable, home: Path, nap: str) -> None:
    """SIGTERM for diag ends the command; what there was is kept."""
    child = start("sleeping_threads.py")
    running = begin(
        [*EXEC, "-q", str(child.pid), "--", "sh", "-c", f"echo ready; sleep {nap}"], stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"

    running.terminate()

    running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 128 + signal.SIGTERM
    assert marked(nap) == []
    assert cast(home)[1] == "ready\r\n"


def test_secrets_do_not_reach_the_disk(start: Callable, diag: Callable, home: Path) -> None:
    """Neither one that is written in pieces, nor one that only the environment gives away, nor one in the command."""
    child = start("sleeping_threads.py", env={**os.environ, "SHOP_API_KEY": "kk-93-zebra-giraffe"})
    script = "printf 'password=hun'; sleep 0.2; printf 'ter2-split\\n'; echo \"it is $SHOP_API_KEY.\""

    answer = diag("exec", "-q", str(child.pid), "--", "sh", "-c", script, "--token=tok-abcdef-0123")

    assert answer.stdout == "password=hunter2-split\nit is kk-93-zebra-giraffe.\n"
    kept = b"\n".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"hunter2-split" not in kept
    assert b"zebra-giraffe" not in kept
    assert b"tok-abcdef-0123" not in kept
    assert {entry["rule"] for entry in manifest(home)["redactions"]} >= {"secret", "environment-value"}


def test_probe_is_not_handed_on(start: Callable, diag: Callable) -> None:
    """The command has the instance's environment, but is not taken for one of its processes."""
    from diag.probe import FOLDER

    variables = {"SHOP": "yes", "PYTHONPATH": f"{FOLDER}:/elsewhere", "DIAG_PROBE_SOCKET": "/nowhere"}
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DIAG_")}
    child = start("sleeping_threads.py", env={**ours, **variables})

    seen = diag("exec", "-q", str(child.pid), "--", "env").stdout.splitlines()

    assert "SHOP=yes" in seen
    assert "PYTHONPATH=/elsewhere" in seen
    assert [line for line in seen if line.startswith("DIAG_") and not line.startswith("DIAG_EXEC=")] == []


def test_no_privilege_is_needed_for_ones_own(home: Path, nap: str, wait_for: Callable) -> None:
    """A user runs commands beside processes of that user, also in user namespaces that the user made.

    Beside others it is said what that would take.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    # Only so that this Python can be read wherever it is installed: it is no capability to enter or to become.
    reading = ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search", "--bounding-set")
    nobody = [need("setpriv"), "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    user = [*nobody, *reading, "-all,+dac_read_search"]
    for folder in (home, home / "run"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, 65534, 65534)
    theirs = subprocess.Popen([*nobody, "--inh-caps", "-all", "sleep", "10000"])
    apart = subprocess.Popen([*user, "unshare", "-mpnuiU", "--map-root-user", "--fork", "--mount-proc", "sleep", nap])
    others = subprocess.Popen(["sleep", "10000"])
    wait_for(lambda: Path(f"/proc/{theirs.pid}/comm").read_text() == "sleep\n")  # it is somebody else by then

    def run(pid: int, *command: str) -> subprocess.CompletedProcess[str]:
        whole = [*user, *EXEC, "-q", str(pid), "--", *command]
        return subprocess.run(whole, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    try:
        answer = run(theirs.pid, "sh", "-c", f"id -u; grep CapPrm /proc/self/status; (setsid sleep 1{nap} &)")
        refused = run(others.pid, "true")
        children = Path(f"/proc/{apart.pid}/task/{apart.pid}/children")
        wait_for(children.read_text)
        wait_for(lambda: Path(f"/proc/{children.read_text().strip()}/comm").read_text() == "sleep\n")
        inside = run(int(children.read_text()), "sh", "-c", f"id -u; cat /proc/1/comm; (setsid sleep {nap[::-1]} &)")
        left = [*marked(f"1{nap}"), *marked(nap[::-1])]
    finally:
        for process in (theirs, others, apart):
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            process.kill()
            process.wait(TIMEOUT_S)

    assert (answer.stderr, answer.stdout.split()) == ("", ["65534", "CapPrm:", "0" * 16])
    assert (inside.stderr, inside.stdout) == ("", "0\nsleep\n")
    assert left == []
    assert refused.returncode == 3
    assert "CAP_SYS_PTRACE" in refused.stderr


class TestContainer:
    """Beside the first process of a real container."""

    def test_its_own_view(self, podman: Podman, diag: Callable, unique: str, home: Path) -> None:
        """Files, processes, host name, user and capabilities are the container's, and no more than its own."""
        pid = podman.run(unique, options=("--hostname", "inside", "--user", "1234:4321"))
        script = (
            "id -u; id -g; hostname; ps -o pid,args | grep time.sleep; grep -E 'CapPrm|CapBnd|NoNew' /proc/self/status"
        )

        answer = diag("exec", "-q", unique, "--", "sh", "-c", script)

        lines = answer.stdout.splitlines()
        assert lines[:3] == ["1234", "4321", "inside"]
        assert lines[3].split()[0] == "1"
        assert [line.split()[1] for line in lines[-3:]] == ["0" * 16, "0" * 16, "1"]
        found = manifest(home)["instance"]
        assert (found["pid"], found["name"], found["runtime"][:10]) == (pid, unique, "python 3.8")
        assert found["labels"]["container.id"] == podman.inspect(unique)["Id"]

    def test_root_there_has_no_more_than_the_instance(self, podman: Podman, diag: Callable, unique: str) -> None:
        """Beside a process of root the capabilities are that process's, also after the exec."""
        pid = podman.run(unique, options=("--cap-drop", "all", "--cap-add", "net_bind_service"))
        allowed = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line[:6] == "CapPrm")

        answer = diag("exec", "-q", unique, "--", "grep", "Cap", "/proc/self/status")

        seen = dict(line.split() for line in answer.stdout.splitlines())
        assert seen["CapPrm:"] == seen["CapEff:"] == seen["CapBnd:"] == allowed.split()[1] == f"{1 << 10:016x}"
        assert (seen["CapInh:"], seen["CapAmb:"]) == ("0" * 16, "0" * 16)

    def test_user_namespace(self, podman: Podman, diag: Callable, unique: str) -> None:
        """With ids mapped the command has the inner user, and outside it is that user's as well."""
        podman.run(unique, options=("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--user", "7:8"))
        answer = diag("exec", "-q", unique, "--", "sh", "-c", "id -u; id -g; cat /proc/self/uid_map")
        assert answer.stderr == ""
        assert answer.stdout.split() == ["7", "8", "0", "100000", "65536"]

    def test_instance_pays_nothing(self, podman: Podman, diag: Callable, unique: str) -> None:
        """The command is in no cgroup of the container, so that it cannot push it over its memory limit."""
        pid = podman.run(unique)
        own = Path(f"/proc/{pid}/cgroup").read_text()
        answer = diag("exec", "-q", unique, "--", "cat", "/proc/self/cgroup", "/proc/self/oom_score_adj")
        assert podman.inspect(unique)["Id"] in own
        assert podman.inspect(unique)["Id"] not in answer.stdout
        assert answer.stdout.splitlines()[-1] == "1000"

    def test_daemon_does_not_stay(self, podman: Podman, diag: Callable, unique: str, nap: str) -> None:
        """What left its parent, its session and its terminal ends all the same, and is no child of the instance."""
        pid = podman.run(unique)

        answer = diag("exec", unique, "--", "sh", "-c", DAEMON.format(nap))

        assert answer.returncode == 0
        assert marked(nap) == []
        assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""
        assert "what it had left running was ended: 1" in answer.stderr

    def test_diag_is_killed(
        self, begin: Callable, podman: Podman, diag: Callable, unique: str, nap: str, wait_for: Callable, home: Path
    ) -> None:
        """kill -9 of diag leaves nothing running, not even a daemon in the container; the transcript is found later."""
        podman.run(unique)
        script = f"{DAEMON.format(nap)}; echo ready; exec /bin/sleep {nap}"
        running = begin([*EXEC, unique, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        wait_for(lambda: len(marked(nap)) == 2)

        running.kill()
        running.communicate(timeout=TIMEOUT_S)

        wait_for(lambda: not marked(nap))
        (found,) = json.loads(diag("ls", "--json").stdout)
        assert found["title"].endswith("(diag was killed)")
        assert [artifact["name"] for artifact in found["artifacts"]] == ["transcript.cast"]
        (path,) = home.rglob("transcript.cast")
        assert "ready" in path.read_text()

    def test_everybody_outside_is_killed(
        self, begin: Callable, podman: Podman, unique: str, nap: str, wait_for: Callable
    ) -> None:
        """Even where the steward goes with diag, nothing stays."""
        podman.run(unique)
        script = f"{DAEMON.format(nap)}; echo ready; exec /bin/sleep {nap}"
        running = begin([*EXEC, unique, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        wait_for(lambda: len(marked(nap)) == 2)
        (steward,) = [
            int(word) for word in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        ]

        running.send_signal(signal.SIGSTOP)
        os.kill(steward, signal.SIGKILL)
        running.kill()
        running.communicate(timeout=TIMEOUT_S)

        wait_for(lambda: not marked(nap))

    def test_instance_ends_meanwhile(self, begin: Callable, podman: Podman, unique: str, home: Path, nap: str) -> None:
        """With the container's first process all in it ends: what there was is kept, and why it ended is said."""
        pid = podman.run(unique)
        running = begin(
            [*EXEC, "-q", unique, "--", "sh", "-c", f"echo ready; exec /bin/sleep {nap}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"

        os.kill(pid, signal.SIGKILL)

        running.communicate(timeout=TIMEOUT_S)
        assert running.returncode == 128 + signal.SIGKILL
        assert "the instance has ended" in manifest(home)["incomplete"][0]["reason"]
        assert cast(home)[1] == "ready\r\n"

    def test_image_without_tools(self, podman: Podman, diag: Callable, unique: str) -> None:
        """What the image lacks is said, and this machine's program stands in: same pids, same files, same user."""
        podman.run(unique, bare=True, options=("--user", "1234:4321"))
        refused = diag("exec", unique, "--", "sh", "-c", "true")
        script = "id -u; ps -o pid= -C python | head -1; ls /instance/opt; cat /proc/net/dev | grep -c :; ls / /home"

        answer = diag("exec", "-q", "--host-tools", unique, "--", "sh", "-c", script)

        assert refused.returncode == 127
        assert "--host-tools" in refused.stderr
        lines = answer.stdout.splitlines()
        assert [line.strip() for line in lines[:4]] == ["1234", "1", "py", "1"]
        assert "home" not in lines
        assert "instance" in lines
        assert "/home" in answer.stderr


def test_stopped_instance_stays_stopped(start: Callable, diag: Callable) -> None:
    """A command runs beside a process that somebody has stopped, which is not continued."""
    child = start("sleeping_threads.py")
    child.send_signal(signal.SIGSTOP)
    answer = diag("exec", "-q", str(child.pid), "--", "grep", "State", f"/proc/{child.pid}/status")
    assert answer.stdout.split()[:2] == ["State:", "T"]
    assert Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T"
    child.send_signal(signal.SIGCONT)


def test_plain_namespaces(diag: Callable, wait_for: Callable, nap: str) -> None:
    """Namespaces that no engine made are entered by the pid."""
    need("unshare")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = subprocess.Popen(["unshare", "-mpnuiU", "--map-root-user", "--fork", "--mount-proc", "sleep", nap])
    try:
        wait_for(lambda: any(pid != made.pid for pid in marked(nap)))
        pid = next(pid for pid in marked(nap) if pid != made.pid)
        wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        answer = diag("exec", "-q", str(pid), "--", "sh", "-c", "cat /proc/1/comm; id -u")
        assert (answer.stdout, answer.stderr) == ("sleep\n0\n", "")
    finally:
        for pid in marked(nap):
            os.kill(pid, signal.SIGKILL)
        made.wait(TIMEOUT_S)
