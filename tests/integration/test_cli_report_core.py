"""`diag report --core`, on cores that the kernel wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core_files import Made, dumped
from elftools.elf.elffile import ELFFile
from instances import Machine
from machine import PROGRAMS, need
from reports import validate

from diag.collectors import core_file


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that dies of the fault that its argument names."""
    path = tmp_path_factory.mktemp("dying") / "dying"
    subprocess.run([need("gcc"), "-g", "-O0", "-pthread", "-o", path, PROGRAMS / "dying.c"], check=True)
    return path


@pytest.fixture
def read(home: Path, diag: Callable) -> Callable[..., dict[str, Any]]:
    """The report of a core file, as JSON."""

    def run(core: Path, *more: str) -> dict[str, Any]:
        answer = diag("report", "--core", str(core), "--json", *more)
        assert answer.returncode == 0, answer.stderr
        return validate(json.loads(answer.stdout))

    return run


@pytest.mark.parametrize(
    ("how", "cause", "function"),
    [
        ("null", "null-dereference", "price_of"),
        ("overflow", "stack-overflow", "fault_stack_overflow"),
        ("divide", "divide-error", "fault_divide"),
        ("abort", "abort", "main"),
        ("sent", "sent-signal", "kill"),
    ],
)
def test_a_native_core_tells_why(
    how: str, cause: str, function: str, dying: Path, tmp_path: Path, read: Callable
) -> None:
    """Each kind of fault has its verdict, the function, all threads with their callers, and the modules."""
    need("eu-stack")
    report = read(dumped(tmp_path, str(dying), how))

    first, second = report["threads"]
    assert report["verdict"]["cause"] == cause
    assert function in [frame["function"] for frame in first["frames"]]
    assert (first["crashed"], second["crashed"]) == (True, False)
    assert "idle" in [frame["function"] for frame in second["frames"]]
    assert report["header"]["commandLine"] == [str(dying), how]
    assert str(dying) in [module["path"] for module in report["modules"]]


def test_a_python_core_is_the_crash_that_diag_run_would_have_seen(home: Path, tmp_path: Path, read: Callable) -> None:
    """Python and C frames, and the fingerprint of the same crash under `diag run`: they are one group."""
    need("eu-stack")
    program = str(PROGRAMS / "segfault.py")
    machine = Machine(home)
    machine.run(sys.executable, program)
    live = machine.only_report()

    report = read(dumped(tmp_path, sys.executable, program))

    def calls(one: dict[str, Any]) -> list[tuple[str, int]]:
        frames = one["threads"][0]["frames"]
        return [(frame["function"], frame["line"]) for frame in frames if frame["language"] == "python"]

    assert calls(report) == calls(live)
    assert report["verdict"]["cause"] == live["verdict"]["cause"]
    assert report["fingerprint"] == live["fingerprint"]
    assert report["header"]["runtimeVersion"] == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_notes_are_read_as_pyelftools_reads_them(dying: Path, tmp_path: Path) -> None:
    """What the kernel wrote is understood by us as by the library that others use."""
    path = dumped(tmp_path, str(dying))
    with path.open("rb") as file:
        notes = [note for part in ELFFile(file).iter_segments("PT_NOTE") for note in part.iter_notes()]
    told = {note["n_type"]: note["n_desc"] for note in notes}
    files = told["NT_FILE"]

    core = core_file.read(path)

    named = {(m.start, m.end, m.offset, m.path) for m in core.maps if m.path.startswith("/")}
    pairs = zip(files["Elf_Nt_File_Entry"], files["filename"], strict=True)
    size = files["page_size"]
    assert named == {(e["vm_start"], e["vm_end"], e["page_offset"] * size, name.decode()) for e, name in pairs}
    assert core.pid == told["NT_PRPSINFO"]["pr_pid"]


def test_a_program_that_has_gone_is_named(dying: Path, tmp_path: Path, read: Callable) -> None:
    """Without the program it says so, and with --exe its functions have names; another program is not used."""
    need("eu-stack")
    program = Path(shutil.copy(dying, tmp_path / "gone"))
    core = dumped(tmp_path, str(program))
    kept = program.rename(tmp_path / "kept")

    without, given, wrong = read(core), read(core, "--exe", str(kept)), read(core, "--exe", sys.executable)

    assert any("name a copy of it with --exe" in gap["reason"] for gap in without["incomplete"])
    assert given["threads"][0]["frames"][0]["function"] == "price_of"
    assert any("is not what the core is of" in gap["reason"] for gap in wrong["incomplete"])
    shutil.copy(sys.executable, program)
    replaced = read(core)
    assert any("not the files that the process had mapped" in gap["reason"] for gap in replaced["incomplete"])
    assert replaced["threads"][0]["frames"][0]["function"] != "price_of"


def test_without_the_tools_the_registers_tell(dying: Path, tmp_path: Path, home: Path, diag: Callable) -> None:
    """Where eu-stack is not installed each thread has the function it stood in, and it says what to install."""
    core = dumped(tmp_path, str(dying))

    answer = diag("report", "--core", str(core), "--json", PATH=str(tmp_path))

    report = json.loads(answer.stdout)
    assert report["threads"][0]["frames"][0]["function"] == "price_of"
    assert any("apt-get install elfutils" in gap["reason"] for gap in report["incomplete"])


def test_a_cut_python_core_says_what_is_missing(home: Path, tmp_path: Path, read: Callable) -> None:
    """Cut behind its notes a core has its signal and registers, without a traceback of ours."""
    core = dumped(tmp_path, sys.executable, str(PROGRAMS / "segfault.py"))
    with core.open("r+b") as file:
        file.truncate(40_000)

    report = read(core)

    assert report["verdict"]["cause"] == "null-dereference"
    reasons = " ".join(gap["reason"] for gap in report["incomplete"])
    assert "the core was cut off" in reasons
    assert "Traceback" not in reasons


def test_wrong_words_are_refused(home: Path, diag: Callable, tmp_path: Path) -> None:
    """A file that is no core, a missing one, and arguments that do not fit are refused in a sentence."""
    text = tmp_path / "text"
    text.write_text("not a core")
    core = str(Made().write(tmp_path / "core"))
    wrong = {
        ("--core", str(text)): 1,
        ("--core", str(tmp_path / "none")): 1,
        ("--core", core, "4711"): 2,
        ("--core", core, "--exe", str(tmp_path / "none")): 2,
        ("4711", "--exe", core): 2,
        (): 2,
    }
    for words, status in wrong.items():
        answer = diag("report", *words)
        assert (answer.returncode, answer.stdout) == (status, ""), words
        assert answer.stderr.startswith("diag: ") and "Traceback" not in answer.stderr


def test_the_capture_is_a_crash(home: Path, tmp_path: Path, diag: Callable) -> None:
    """A core becomes a capture of kind crash, listed by its title."""
    diag("report", "--core", str(Made().write(tmp_path / "core")))

    (row,) = json.loads(diag("ls", "--json").stdout)
    assert (row["kind"], row["level"], row["trigger"]) == ("crash", "NATIVE", "signal")
    assert row["instance"]["name"] == "shop"
    assert row["instance"]["pid"] == 4711
