"""`diag profile`, on live processes that must not notice it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from machine import PROGRAMS, TIMEOUT_S, need, python
from states import States, has_ended
from terminals import on_terminal

from diag.cli.main import run_command_line
from diag.collectors.collector import COLLECTORS, collector
from diag.profiles import formats, tables
from diag.profiles.model import PID, THREAD, THREAD_ID, Profile, label

ENGINES = ["austin", "py-spy", "perf"]
# Pairs that call each other nowhere in alternating.py.
MIXED = ({"left", "right"}, {"left", "right_leaf"}, {"right", "left_leaf"})
DIAG = [sys.executable, "-m", "diag"]
CLOCK_HZ = os.sysconf("SC_CLK_TCK")
SAMPLES = 50


def manifests(home: Path) -> list[dict[str, Any]]:
    """The manifests in the local store."""
    return [json.loads(path.read_text()) for path in home.rglob("store/v1/default/*/*/*/*/*/manifest.json")]


def kept(home: Path, name: str = "profile.pb.gz") -> bytes:
    """A file of the only capture."""
    (path,) = home.rglob(f"store/v1/**/{name}")
    return path.read_bytes()


def profile(home: Path) -> Profile:
    """The only profile that was kept."""
    return formats.read(kept(home))


def hottest(one: Profile) -> str:
    """The function with the most own samples."""
    return tables.top(tables.by_function(one, one.column()), 1)[0][0].name.rpartition(".")[2]


def labels(one: Profile, key: str) -> set[str | int]:
    """The values of a label."""
    found = {label(one.label_sets[tags], key) for tags in set(one.labels_of)}
    return {value for value in found if value is not None}


def rest(home: Path) -> set[str]:
    """What is under the home beside captures, accounts and locks."""
    names = {path.name for path in home.rglob("*") if path.is_file()}
    return {name for name in names if name.startswith(".") or name.endswith((".mojo", ".data", ".tmp"))}


def state(pid: int) -> str:
    """The kernel's letter for a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def profiling(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `diag profile` in the background; it is told when it looks."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*DIAG, "profile", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def looks(wait_for: Callable) -> Callable[[Any, subprocess.Popen[str]], None]:
    """Waits until the capture's tool takes samples, and the process has computed for a second since."""

    def wait(process: Any, child: subprocess.Popen[str]) -> None:
        def samples() -> bool:
            try:
                return any(map(takes_samples, started_by(process.pid)))
            except (FileNotFoundError, ProcessLookupError):
                return False  # one of them, such as `perf --version`, ended at that moment

        wait_for(samples)
        before = cpu_s(child.pid)
        wait_for(lambda: cpu_s(child.pid) - before > 1)

    return wait


def started_by(pid: int) -> list[int]:
    """Its children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def takes_samples(pid: int) -> bool:
    """Whether it is a tool that has slept between many samples, or, as perf does, lets the kernel take them."""
    tool, *words = [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    if Path(tool).name not in ("py-spy", "austin", "perf") or not {"record", "--binary"} & set(words):
        return False
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    slept = sum(int(number) for text in texts for number in re.findall(r"\nvoluntary_ctxt_switches:\s*(\d+)", text))
    opened = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return "anon_inode:[perf_event]" in opened if Path(tool).name == "perf" else slept > SAMPLES


def cpu_s(pid: int) -> float:
    """The CPU time that the process has used."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / CLOCK_HZ


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_a_pid_of_nobodys(engine: str, start: Callable, diag: Callable, home: Path) -> None:
    """The function that computes is the hottest, samples know their process and thread, and the process runs on."""
    child = start("alternating.py")
    if engine == "perf":
        need("perf")

    before = cpu_s(child.pid)
    with States(child.pid) as states:
        answer = diag("profile", str(child.pid), "-d", "2", "--engine", engine)
    computed_s = cpu_s(child.pid) - before

    assert answer.returncode == 0, answer.stderr
    one = profile(home)
    assert labels(one, PID) <= {child.pid}
    assert child.pid in labels(one, THREAD_ID)
    # perf samples it while it has a processor; and it computes while diag starts, too, which may take longer.
    assert len(one) > min(20, 2 * computed_s)
    if engine != "perf":  # it names what runs inside CPython instead
        assert hottest(one) == "left_leaf"
        assert "left_leaf (alternating.py)" in answer.stdout
    assert not states.seen & set("tT")
    assert state(child.pid) in "RS"
    assert rest(home) == set()
    (manifest,) = manifests(home)
    assert (manifest["kind"], manifest["trigger"]) == ("profile", "api")
    assert {artifact["name"] for artifact in manifest["artifacts"]} == {"profile.pb.gz", "summary.json"}
    assert manifest["capture_id"] in answer.stdout
    assert manifest["cost"]["pause_s"] == 0


@pytest.mark.parametrize("engine", ["austin", "py-spy"])
def test_stacks_that_were_never_there_are_few(engine: str, start: Callable, diag: Callable, home: Path) -> None:
    """Reading without a stop mixes two moments now and then, and no more than that."""
    child = start("alternating.py")

    assert diag("profile", str(child.pid), "-d", "3", "--engine", engine).returncode == 0

    one = profile(home)
    names = [{frame.function for frame in one.frames_of(index)} for index in range(len(one))]
    wrong = sum(any(pair <= found for pair in MIXED) for found in names)
    assert wrong <= 0.15 * len(names)


@pytest.mark.parametrize("engine", ["austin", "py-spy"])
def test_wall_shows_what_waits(engine: str, start: Callable, diag: Callable, home: Path) -> None:
    """`--mode wall` has the thread that sleeps, as long as the one that computes; `--mode cpu` has it not."""
    child = start("alternating.py")

    assert diag("profile", str(child.pid), "-d", "2", "--engine", engine, "--mode", "wall").returncode == 0

    one = profile(home)
    assert len(labels(one, THREAD_ID)) == 2
    assert one.sample_types[one.column()].name == "wall"
    if engine == "py-spy":
        assert labels(one, THREAD) == {"MainThread", "sleeper"}


@pytest.mark.parametrize("engine", ["austin", "py-spy"])
def test_cpu_leaves_out_what_waits(engine: str, start: Callable, diag: Callable, home: Path) -> None:
    """In a profile of CPU time nearly all is the thread that runs."""
    child = start("alternating.py")

    assert diag("profile", str(child.pid), "-d", "2", "--engine", engine).returncode == 0

    one = profile(home)
    by_thread = tables.by_label(one, one.column(), THREAD_ID)
    assert by_thread[(child.pid,)] >= 0.9 * one.total(one.column())


@pytest.mark.parametrize("mode", ["cpu", "gil"])
@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_rest_between_two_computations_is_no_cpu_time(
    version: str, mode: str, start: Callable, diag: Callable, home: Path
) -> None:
    """What py-spy saw last before a rest lasts no longer than the process ran."""
    child = start("resting.py", by=(python(version),))

    before = cpu_s(child.pid)
    answer = diag("profile", str(child.pid), "-d", "3", "--engine", "py-spy", "--mode", mode)
    computed_s = cpu_s(child.pid) - before

    assert answer.returncode == 0, answer.stderr
    one = profile(home)
    assert one.total(one.column()) <= (computed_s + 5 / CLOCK_HZ) * 1e9


def test_native_frames_say_what_they_cost(start: Callable, diag: Callable, home: Path) -> None:
    """`--native` merges C frames into the Python stacks, and the capture says that this stops the process."""
    child = start("alternating.py")

    answer = diag("profile", str(child.pid), "-d", "2", "--native")

    assert answer.returncode == 0, answer.stderr
    assert "stops the process" in answer.stderr
    one = profile(home)
    assert {"left_leaf"} <= {frame.function for frame in one.frames}
    assert any(".so" in frame.file or frame.mapping or frame.file.endswith(".c") for frame in one.frames)
    assert manifests(home)[0]["cost"]["pause_s"] > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_keeps_what_there_is(
    engine: str, start: Callable, profiling: Callable, looks: Callable, home: Path
) -> None:
    """The first Ctrl-C ends the capture, which is kept with the samples until then."""
    child = start("alternating.py")
    process = profiling(str(child.pid), "-d", "600", "--engine", engine)
    looks(process, child)

    process.send_signal(signal.SIGINT)

    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, stderr
    assert len(profile(home)) > 0
    assert json.loads(kept(home, "summary.json"))["recording"]["duration_s"] < 500
    assert "diag get" in stdout
    assert state(child.pid) in "RS"
    assert rest(home) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_ends_diag_loses_nothing(
    number: int, start: Callable, profiling: Callable, looks: Callable, home: Path
) -> None:
    """A signal that asks it to end is taken as Ctrl-C is, and no tool stays behind."""
    child = start("alternating.py")
    process = profiling(str(child.pid), "-d", "600")
    looks(process, child)

    process.send_signal(number)

    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, stderr
    assert "diag get" in stdout
    assert len(profile(home)) > 0
    assert rest(home) == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_diag_leaves_no_tool(
    engine: str, start: Callable, profiling: Callable, looks: Callable, wait_for: Callable
) -> None:
    """Its tool ends as well, and the process runs on."""
    child = start("alternating.py")
    process = profiling(str(child.pid), "-d", "600", "--engine", engine)
    looks(process, child)
    tools = [pid for pid in started_by(process.pid) if takes_samples(pid)]
    assert tools

    process.kill()

    wait_for(lambda: all(map(has_ended, tools)))
    assert state(child.pid) in "RS"


def test_a_terminal_that_is_closed_loses_nothing(start: Callable, looks: Callable, home: Path) -> None:
    """Nobody is there to be told, and the capture is in the store all the same."""
    child = start("alternating.py")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*DIAG, "profile", str(child.pid), "-d", "600"])
    looks(SimpleNamespace(pid=pid), child)

    os.close(terminal)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(profile(home)) > 0
    assert rest(home) == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_process_ends_meanwhile(
    engine: str, start: Callable, profiling: Callable, looks: Callable, home: Path
) -> None:
    """What was seen until the end is kept, and the capture says that the process ended."""
    child = start("alternating.py")
    process = profiling(str(child.pid), "-d", "60", "--engine", engine)
    looks(process, child)

    child.kill()

    _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, stderr
    assert f"process {child.pid} ended while it was captured" in stderr
    (manifest,) = manifests(home)
    assert [entry["section"] for entry in manifest["incomplete"]][-1] == "profile"
    assert len(profile(home)) > 0


@pytest.mark.parametrize("engine", ["austin", "py-spy"])
def test_a_stopped_process_stays_stopped(
    engine: str, start: Callable, diag: Callable, wait_for: Callable, home: Path
) -> None:
    """It is never continued; a profile of CPU time has nothing of it, and says what would show more."""
    child = start("alternating.py")
    os.kill(child.pid, signal.SIGSTOP)
    wait_for(lambda: state(child.pid) == "T")

    with States(child.pid) as states:
        answer = diag("profile", str(child.pid), "-d", "1", "--engine", engine)

    assert answer.returncode == 0, answer.stderr
    assert states.seen == {"T"}
    assert "stopped" in answer.stderr
    assert len(manifests(home)) == 1


def test_native_frames_in_a_container_are_the_kernels(start: Callable, diag: Callable, home: Path) -> None:
    """py-spy cannot tell the threads there: named it says so, and `auto` takes perf."""
    need("perf")
    child = start("alternating.py", by=(need("unshare"), "--mount", python("3.8")))

    named = diag("profile", str(child.pid), "-d", "1", "--native", "--engine", "py-spy")
    chosen = diag("profile", str(child.pid), "-d", "1", "--native")

    assert (named.returncode, chosen.returncode) == (2, 0), chosen.stderr
    assert "in a container" in named.stderr
    assert chosen.stderr.startswith("perf: ")


def test_native_frames_of_a_stopped_process_are_refused(start: Callable, diag: Callable, wait_for: Callable) -> None:
    """They would take hold of it."""
    child = start("alternating.py")
    os.kill(child.pid, signal.SIGSTOP)
    wait_for(lambda: state(child.pid) == "T")

    answer = diag("profile", str(child.pid), "--native", "--engine", "py-spy")

    assert answer.returncode == 2
    assert "stopped" in answer.stderr
    assert state(child.pid) == "T"


def test_a_run_folder_that_cannot_be_written(start: Callable, diag: Callable, home: Path) -> None:
    """That of another user, as `su` leaves it in XDG_RUNTIME_DIR: a sentence says which folder, and which variable."""
    child = start("alternating.py")

    answer = diag("profile", str(child.pid), "-d", "1", DIAG_RUN_DIR="/proc/run")

    assert answer.returncode == 1
    assert "The run folder /proc/run cannot be written" in answer.stderr
    assert "DIAG_RUN_DIR" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert manifests(home) == []


def test_the_file_goes_to_standard_output(start: Callable, home: Path) -> None:
    """`-o -` is for a pipe: what is said besides stands on stderr."""
    child = start("alternating.py")
    command = [*DIAG, "profile", str(child.pid), "-d", "1", "-f", "speedscope", "-o", "-"]

    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)

    assert json.loads(answer.stdout)["$schema"].startswith("https://www.speedscope.app/")
    assert "diag get" in answer.stderr
    assert len(manifests(home)) == 1


def test_two_at_once(start: Callable, profiling: Callable, looks: Callable, diag: Callable, home: Path) -> None:
    """The second is refused in a sentence, and the first is not disturbed."""
    child = start("alternating.py")
    first = profiling(str(child.pid), "-d", "600")
    looks(first, child)

    second = diag("profile", str(child.pid), "-d", "1")

    assert second.returncode == 1
    assert "Another capture" in second.stderr
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=TIMEOUT_S)
    assert first.returncode == 0
    assert len(manifests(home)) == 1


@pytest.mark.parametrize(
    "arguments",
    [["-d", "0"], ["-d", "3601"], ["-r", "0"], ["-r", "1001"], ["-d", "x"], ["--engine", "gdb"], ["-f", "svg"]],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], start: Callable, diag: Callable, home: Path) -> None:
    """A duration, a rate, an engine or a format beyond what there is: exit 2, and the process is not looked at."""
    child = start("alternating.py")

    answer = diag("profile", str(child.pid), *arguments)

    assert answer.returncode == 2
    assert arguments[0] in answer.stderr
    assert manifests(home) == []


@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        ("node", [], "is python"),
        ("go", [], "is python"),
        ("austin", ["--native"], "--engine py-spy"),
        ("austin", ["--mode", "gil"], "--engine py-spy"),
        ("perf", ["--mode", "wall"], "--mode cpu"),
    ],
)
def test_an_engine_that_cannot(engine: str, options: list[str], says: str, start: Callable, diag: Callable) -> None:
    """An engine that cannot do this on this process says so, and what would: exit 2."""
    child = start("alternating.py")

    answer = diag("profile", str(child.pid), "--engine", engine, *options)

    assert answer.returncode == 2
    assert says in answer.stderr


@pytest.mark.parametrize("form", list(formats.WRITERS))
def test_a_file_in_each_format(form: str, start: Callable, diag: Callable, home: Path, tmp_path: Path) -> None:
    """`-f` and `-o` write the same profile, readable by nobody else, and say where."""
    child = start("alternating.py")
    path = tmp_path / "out"

    answer = diag("profile", str(child.pid), "-d", "1", "-f", form, "-o", str(path))

    assert f"file   {path}" in answer.stdout
    assert path.stat().st_mode & 0o777 == 0o600
    if form == "html":
        assert f"<title>{manifests(home)[0]['title'].removeprefix('profile: ')}</title>" in path.read_text()
    else:
        assert formats.detect(path.read_bytes()) == form
        assert hottest(formats.read(path.read_bytes())) == hottest(profile(home))


def test_a_file_by_itself_has_a_name(start: Callable, home: Path, tmp_path: Path) -> None:
    """`-f` alone names the file after the process and the time, in the folder where one is."""
    child = start("alternating.py")

    command = [*DIAG, "profile", str(child.pid), "-d", "1", "-f", "collapsed"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=TIMEOUT_S, capture_output=True)

    (path,) = tmp_path.iterdir()
    assert path.name.startswith("profile.python")
    assert path.name.endswith(".collapsed.txt")


def test_the_bar_fits_a_terminal(start: Callable, home: Path) -> None:
    """In 80 columns there are the bar, the time that is left, and what was gathered, each on one line."""
    child = start("alternating.py")

    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_terminal("profile", str(child.pid), "-d", "2"))

    shown = [line.strip() for line in re.split("[\r\n]", said) if "about" in line]
    assert all("━" in line and len(line) <= 80 for line in shown)
    assert any(re.search(r" 0:00:0[0-2] about \d+ samples$", line) for line in shown)


def test_a_file_that_cannot_be_written(start: Callable, diag: Callable, home: Path) -> None:
    """It is refused before the wait, with exit 1, and nothing is captured."""
    child = start("alternating.py")

    answer = diag("profile", str(child.pid), "-o", "/nonexistent/folder/out")

    assert answer.returncode == 1
    assert "/nonexistent/folder/out cannot be written" in answer.stderr
    assert manifests(home) == []


def test_a_file_that_does_not_fit_loses_nothing(start: Callable, diag: Callable, home: Path) -> None:
    """Where the file fails after the wait the capture is kept and told of all the same; exit 1."""
    child = start("alternating.py")

    answer = diag("profile", str(child.pid), "-d", "1", "-o", "/dev/full")

    assert answer.returncode == 1
    assert "/dev/full cannot be written: No space left on device" in answer.stderr
    assert manifests(home)[0]["capture_id"] in answer.stdout


def test_json_is_the_summary(start: Callable, diag: Callable, home: Path) -> None:
    """`--json` prints the summary that is kept, and nothing else."""
    child = start("alternating.py")

    answer = diag("profile", str(child.pid), "-d", "1", "--json")

    shown = json.loads(answer.stdout)
    assert shown.pop("capture_id") == manifests(home)[0]["capture_id"]
    assert shown == json.loads(kept(home, "summary.json"))
    assert shown["facts"]["hottest"]["function"] == "left_leaf"
    # Where chance has every sample in left_leaf, that one is as long as its caller.
    assert shown["facts"]["longest_in_app"]["function"] in ("alternate", "left_leaf")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_process_of_another_user(start: Callable, as_nobody: Callable, capfd: pytest.CaptureFixture[str]) -> None:
    """Another user's process is exit 3, with what would allow it."""
    child = start("alternating.py")
    assert run_command_line(["profile", "4194304999"]) == 1  # loads what the other user may not be able to read
    for name in COLLECTORS["profile"]:
        collector("profile", name)

    def refused() -> None:
        os.environ.update(HOME="/nonexistent", XDG_RUNTIME_DIR="/nonexistent")  # ours are closed to others
        for engine in ("auto", *ENGINES):
            assert run_command_line(["profile", str(child.pid), "--engine", engine]) == 3

    as_nobody(refused)
    assert "CAP_SYS_PTRACE" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("engine", "package"), [("py-spy", "py-spy"), ("austin", "austin-dist"), ("perf", "linux-perf")]
)
def test_tool_that_is_missing(
    engine: str,
    package: str,
    start: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An engine whose program is not installed is exit 4, with the package that has it."""
    child = start("alternating.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    assert run_command_line(["profile", str(child.pid), "--engine", engine]) == 4

    assert package in capsys.readouterr().err


def test_an_austin_that_does_not_start(
    start: Callable, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An austin that fails, as version 4 does on an older glibc, is exit 4 with what it said."""
    child = start("alternating.py")
    (tmp_path / "austin").write_text("#!/bin/sh\necho GLIBC_2.38 not found >&2\nexit 1\n")
    (tmp_path / "austin").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    assert run_command_line(["profile", str(child.pid), "--engine", "austin"]) == 4
    assert "GLIBC_2.38" in capsys.readouterr().err


def test_auto_takes_the_next_engine(
    start: Callable, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where py-spy is missing austin is taken."""
    child = start("alternating.py")
    (tmp_path / "austin").symlink_to(Path(sys.executable).parent / "austin")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    assert run_command_line(["profile", str(child.pid), "-d", "1"]) == 0
    assert capsys.readouterr().err.startswith("austin: ")


def test_no_residue(start: Callable, diag: Callable, home: Path) -> None:
    """After a capture no tool, no lock and no temporary file is left, and the process is nobody's tracee."""
    child = start("alternating.py")
    aside = home / "temporary"  # not /tmp, which others use meanwhile
    aside.mkdir()

    for engine in ENGINES:
        assert diag("profile", str(child.pid), "-d", "1", "--engine", engine, TMPDIR=str(aside)).returncode == 0

    assert "TracerPid:\t0" in Path(f"/proc/{child.pid}/status").read_text()
    assert list(aside.iterdir()) == []
    assert not Path(f"/tmp/perf-{child.pid}.map").exists()
    assert not list((home / "run" / "diag" / "busy").iterdir())
    assert not (home / ".debug").exists()
    words = f"--pid\0{child.pid}".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # somebody else's, which has ended
            assert words not in path.read_bytes()


def test_native_program(diag: Callable, home: Path, tmp_path: Path) -> None:
    """A C program is sampled by perf: its own function is the hottest, below its callers, with its file's build id."""
    need("perf")
    program = tmp_path / "live"
    source = str(PROGRAMS / "profiled_live.c")
    subprocess.run([need("gcc"), "-O1", "-fomit-frame-pointer", "-o", program, source], check=True)
    with subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            answer = diag("profile", str(child.pid), "-d", "2")
        finally:
            child.kill()

    assert answer.returncode == 0, answer.stderr
    one = profile(home)
    assert hottest(one) == "hottest"
    assert {"hottest", "turn", "main"} <= {frame.function for frame in one.frames}
    (mapping,) = {frame.mapping for frame in one.frames if frame.function == "hottest"}
    assert mapping is not None
    assert (mapping.file, bool(mapping.build_id)) == (str(program), True)
    assert not {frame.function for frame in one.frames} & {"", "[unknown]"}
