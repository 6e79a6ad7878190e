"""`diag report`, on live processes that must not notice it."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machine import TIMEOUT_S, need
from reports import validate
from states import States

from diag.cli.main import run_command_line
from diag.collectors import sockets


def manifests(home: Path) -> list[dict[str, Any]]:
    """The manifests in the local store."""
    return [json.loads(path.read_text()) for path in home.rglob("store/v1/default/*/*/*/*/*/manifest.json")]


def everything_kept(home: Path) -> bytes:
    """All bytes under the home."""
    return b"\n".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file())


def main_frames(report: dict[str, Any]) -> list[tuple[str, int]]:
    """(function, line) of the main thread's Python frames."""
    main = next(thread for thread in report["threads"] if thread["name"] == "MainThread")
    return [(frame["function"], frame["line"]) for frame in main["frames"] if frame["language"] == "python"]


def test_any_pid_is_reported_and_not_disturbed(
    start: Callable, asleep: Callable, diag: Callable, home: Path, marker: Callable
) -> None:
    """A process of nobody's is read and stored; it neither stops nor wakes, and ends with its own output and status."""
    child = start("sleeping_threads.py")
    asleep(child.pid)
    switches = [line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if "ctxt_switches" in line]

    with States(child.pid) as states:
        answer = diag("report", str(child.pid), "--json")

    assert (answer.returncode, answer.stderr) == (0, "")
    report = json.loads(answer.stdout)
    assert main_frames(report) == [
        ("serve", marker("sleeping_threads.py", "read")),
        ("<module>", marker("sleeping_threads.py", "serve")),
    ]
    assert report["cost"]["pause_s"] == 0
    assert all("locals" not in frame for thread in report["threads"] for frame in thread["frames"])
    assert states.seen == {"S"}
    after = [line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if "ctxt_switches" in line]
    assert after == switches
    output, _ = child.communicate(timeout=TIMEOUT_S)
    assert (output, child.returncode) == ("done\n", 7)
    (manifest,) = manifests(home)
    assert (manifest["kind"], manifest["trigger"], manifest["level"]) == ("report", "api", None)
    assert manifest["capture_id"] == report["captureId"]
    assert manifest["instance"]["pid"] == child.pid
    (artifact,) = manifest["artifacts"]
    assert (artifact["kind"], artifact["format"]) == ("report", "diag-report")
    (stored,) = home.rglob(f"store/**/{artifact['name']}")
    assert json.loads(stored.read_text()) == report


def test_name_covers_every_process(start: Callable, enlist: Callable, diag: Callable, home: Path) -> None:
    """By its name an instance is one report, with each other process as a worker; by a pid it is that process."""
    child = start("family.py")
    worker, grandchild = (int(word) for word in child.stdout.readline().split())
    enlist(child.pid, "shop", linked=(child.pid, worker))

    by_name = json.loads(diag("report", "shop", "--json").stdout)
    by_pid = json.loads(diag("report", str(worker), "--json").stdout)

    assert by_name["header"]["processId"] == child.pid
    assert [one["header"]["processId"] for one in by_name["workers"]] == [worker, grandchild]
    assert {one["instance"]["instance_id"] for one in by_name["workers"]} == {by_name["instance"]["instance_id"]}
    assert [one["instance"]["parent"]["pid"] for one in by_name["workers"]] == [child.pid, worker]
    assert (by_pid["header"]["processId"], by_pid["workers"]) == (worker, [])
    assert by_pid["instance"]["name"] == "shop"
    assert len(manifests(home)) == 2


def test_page_for_a_person(start: Callable, enlist: Callable, diag: Callable) -> None:
    """Without options the summary fits the terminal, and says where the report went."""
    child = start("family.py")
    worker, _ = (int(word) for word in child.stdout.readline().split())
    enlist(child.pid, "shop")

    answer = diag("report", "shop", COLUMNS="80")

    assert answer.returncode == 0
    assert "family.py" in answer.stdout
    assert "OTHER PROCESSES" in answer.stdout
    assert f"  {worker}  " in answer.stdout
    assert max(len(line) for line in answer.stdout.splitlines()) <= 80
    assert "\x1b" not in answer.stdout
    assert "diag show " in answer.stderr


def test_file_is_for_its_owner_only(start: Callable, diag: Callable, tmp_path: Path) -> None:
    """`-o` writes the same JSON, readable by nobody else, also over a file that was readable."""
    child = start("sleeping_threads.py")
    path = tmp_path / "report.json"
    path.touch(mode=0o644)

    answer = diag("report", str(child.pid), "--json", "-o", str(path))

    assert path.read_text() == answer.stdout
    assert path.stat().st_mode & 0o777 == 0o600


def test_locals_are_asked_for_and_redacted(start: Callable, asleep: Callable, diag: Callable, home: Path) -> None:
    """With --locals the values are there, the secrets among them are not, on no disk and on no screen."""
    child = start(
        "secret_locals.py", "--password", "planted-in-argv", env={**os.environ, "API_TOKEN": "planted-in-env"}
    )
    asleep(child.pid)

    answer = diag("report", str(child.pid), "--json", "--locals", "--native")

    report = json.loads(answer.stdout)
    frames = next(thread for thread in report["threads"] if thread["threadId"] == child.pid)["frames"]
    checkout = next(frame for frame in frames if frame["function"] == "checkout")
    assert checkout["locals"]["amount"] == "41"
    assert "native" in {frame["language"] for frame in frames}
    assert report["cost"]["pause_s"] > 0
    assert report["redactions"]
    assert "planted" not in answer.stdout + answer.stderr
    assert b"planted" not in everything_kept(home)


def test_a_node_that_nobody_prepared_describes_itself(begin: Callable, home: Path, diag: Callable) -> None:
    """Node's own report, by the inspector: heap, handles, stack; the inspector is closed again, and Node lives on."""
    script = "process.env.API_KEY = 'planted'; const all = [];"
    script += "const net = require('net').createServer().listen(0, '127.0.0.1', () => console.log('ready'))"
    child = begin(need("node"), "--inspect-port=0", "-e", script)
    caught = [line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if line.startswith("SigCgt")]

    answer = diag("report", str(child.pid), "--json")

    report = validate(json.loads(answer.stdout))
    assert report["instance"]["runtime"].startswith("node ")
    assert report["verdict"]["cause"] == "alive"
    assert report["threads"][0]["waiting"]["what"].startswith("the event loop waits")
    told = report.get("node")
    if told is None:  # a Node that would ask DNS for the names of its connections says so
        assert any("looks up the names" in gap["reason"] for gap in report["incomplete"])
    else:
        assert told["trigger"] == "GetReport" and told["javascriptHeap"]["usedMemory"] > 0 and told["libuv"]
    assert len(sockets.listening(child.pid)) == 1  # its own server
    assert b"planted" not in everything_kept(home)
    after = [line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    assert (after, child.poll()) == (caught, None)


def test_a_node_that_cannot_be_asked_gets_what_there_is(begin: Callable, diag: Callable) -> None:
    """Where SIGUSR1 would end Node it is not sent: the report says so, and has what /proc tells."""
    child = begin(need("node"), "--inspect-port=0", "-e", "setInterval(() => {}, 1e6); console.log('ready')")
    os.kill(child.pid, signal.SIGSTOP)
    try:
        report = json.loads(diag("report", str(child.pid), "--json").stdout)
    finally:
        os.kill(child.pid, signal.SIGCONT)

    assert report["resourceUsage"]["rss"] > 0
    assert any("Node was not asked" in gap["reason"] for gap in report["incomplete"])


@pytest.mark.parametrize(
    ("output", "kept"), [("/dev/full", 1), ("/nowhere/report.json", 0)], ids=["found out late", "found out early"]
)
def test_a_file_that_cannot_be_written_loses_no_report(
    output: str, kept: int, start: Callable, diag: Callable, home: Path
) -> None:
    """What was read is kept first; what can be known before is refused before anything is read."""
    child = start("sleeping_threads.py")

    answer = diag("report", str(child.pid), "-o", output)

    assert answer.returncode == 1
    assert f"{output} cannot be written" in answer.stderr
    assert ("diag show" in answer.stderr) == bool(kept)
    assert len(list(home.rglob("store/**/manifest.json"))) == kept


def test_what_is_no_program_is_called_what_it_is(start: Callable, diag: Callable) -> None:
    """A process that has ended and that nobody has asked for yet, and a thread of the kernel."""
    child = start("sleeping_threads.py")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    ended = diag("report", str(child.pid))
    name = Path("/proc/2/comm")

    assert ended.returncode == 1
    assert f"process {child.pid} has ended, and its parent, process {os.getpid()}," in ended.stderr
    if name.exists() and name.read_text() == "kthreadd\n":  # a container has none
        answer = diag("report", "2")
        assert answer.returncode == 1
        assert "is a thread of the kernel" in answer.stderr


@pytest.mark.parametrize("instance", ["4194304999", "0", "nobody-has-this-name"])
def test_no_such_instance(instance: str, diag: Callable) -> None:
    """A pid or name that nobody has is one sentence, what to do next, and exit 1."""
    answer = diag("report", instance)

    assert (answer.returncode, answer.stdout) == (1, "")
    assert instance in answer.stderr
    assert "diag ps" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_process_of_another_user(start: Callable, as_nobody: Callable, capfd: pytest.CaptureFixture[str]) -> None:
    """Another user's process is exit 3, with what would allow it."""
    child = start("sleeping_threads.py")
    assert run_command_line(["report", "4194304999"]) == 1  # loads what the other user may not be able to read

    def refused() -> None:
        os.environ.update(HOME="/nonexistent", XDG_RUNTIME_DIR="/nonexistent")  # ours are closed to others
        assert run_command_line(["report", str(child.pid)]) == 3

    as_nobody(refused)
    assert "CAP_SYS_PTRACE" in capfd.readouterr().err


def test_output_that_cannot_be_written(start: Callable, diag: Callable) -> None:
    """A file that cannot be written is one sentence and exit 1."""
    child = start("sleeping_threads.py")

    answer = diag("report", str(child.pid), "-o", "/proc/report.json")

    assert answer.returncode == 1
    assert "/proc/report.json cannot be written" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_spool_that_cannot_be_written(start: Callable, diag: Callable) -> None:
    """The report is shown all the same, and kept in the second spool."""
    child = start("sleeping_threads.py")

    answer = diag("report", str(child.pid), "--json", DIAG_SPOOL="/proc/spool")

    assert json.loads(answer.stdout)["header"]["processId"] == child.pid
    assert answer.returncode == 0
    assert json.loads(diag("flush", "--json").stdout)["stored"] == 1


def test_no_spool_that_can_be_written(start: Callable, diag: Callable, home: Path) -> None:
    """The report is shown and written all the same, its essence is one line of stderr, and the loss is said, exit 1."""
    child, file = start("sleeping_threads.py"), home / "report.json"
    nowhere = {"DIAG_SPOOL": "/proc/spool", "DIAG_SPOOL_SECOND": "/proc/second"}

    answer = diag("report", str(child.pid), "--json", "-o", str(file), **nowhere)

    report = json.loads(answer.stdout)
    assert json.loads(file.read_text()) == report
    (line,) = (line for line in answer.stderr.splitlines() if line.startswith("diag-capture: "))
    assert json.loads(line.removeprefix("diag-capture: "))["capture_id"] == report["captureId"]
    assert answer.returncode == 1
    assert "DIAG_SPOOL" in answer.stderr


def test_store_that_is_down(start: Callable, diag: Callable, home: Path) -> None:
    """The report is shown and waits in the spool; exit 5 says that it was captured and not uploaded."""
    child = start("sleeping_threads.py")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = diag("report", str(child.pid), "--json", DIAG_STORE=f"http://127.0.0.1:{unused.getsockname()[1]}")

    report = json.loads(answer.stdout)
    assert answer.returncode == 5
    assert "diag flush" in answer.stderr
    assert list(home.rglob(f"spool/pending/**/{report['captureId']}*"))


def test_a_report_is_written_as_one_page(start: Callable, asleep: Callable, diag: Callable, home: Path) -> None:
    """`-f html` needs a file to write to, says so, and writes the page there for its owner alone."""
    refused = diag("report", "1", "-f", "html")
    assert (refused.returncode, "-o report.html" in refused.stderr) == (2, True)
    child = start("sleeping_threads.py")
    asleep(child.pid)

    assert diag("report", str(child.pid), "-f", "html", "-o", str(home / "now.html")).returncode == 0

    assert "<h2>Threads" in (home / "now.html").read_text()
    assert (home / "now.html").stat().st_mode & 0o777 == 0o600
