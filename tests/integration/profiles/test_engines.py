"""Real profilers look at real programs, and what they write is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from machine import PROGRAMS, need

from diag.profiles import formats, memray, tables
from diag.profiles.model import Profile, SampleType, label

LIMIT_S = 100
PROGRAM = str(PROGRAMS / "profiled.py")
LINE = next(
    number for number, line in enumerate((PROGRAMS / "profiled.py").read_text().splitlines(), 1) if "MARK" in line
)
HERE = Path(sys.executable).parent


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a profiler to its end, and the program with it."""
    return subprocess.run(
        list(map(str, command)), check=True, timeout=LIMIT_S, capture_output=True, text=True, **options
    )  # type: ignore[call-overload,no-any-return]


def figures(one: Profile) -> dict[str, tables.Figures]:
    """The figures by the function's name alone, of what is shown first."""
    return tables.by_frame(one, one.column(), lambda frame: frame.function.rpartition(".")[2])


def check_python(one: Profile) -> None:
    """The program's shape: nearly all of it in `inner`, half of it below `dig`, which calls itself, on two threads."""
    found, whole = figures(one), one.total(one.column())
    computing = found["inner"].total
    assert computing > 0.6 * whole
    assert computing <= found["work"].total <= whole
    assert 0 < found["dig"].total <= whole
    assert found["dig"].own < 0.1 * whole
    assert max([one.frames[index].function for index in stack].count("dig") for stack in one.stacks) == 6
    lines = tables.by_frame(one, one.column(), tables.line_of)
    hottest = tables.top(lines, 1)[0][0]
    assert (hottest.line, hottest.file.rpartition("/")[2]) == (LINE, "profiled.py")


def threads(one: Profile) -> set[str | int | None]:
    """The numbers and the names of the threads."""
    sets = [one.label_sets[tags] for tags in set(one.labels_of)]
    return {label(labels, key) for labels in sets for key in ("thread", "thread_id")} - {None}


@pytest.mark.parametrize("form", ["raw", "speedscope", "chrometrace"])
@pytest.mark.parametrize("options", [[], ["--subprocesses"]], ids=["one", "subprocesses"])
def test_py_spy(tmp_path: Path, form: str, options: list[str]) -> None:
    """Each format of py-spy has the same functions, lines and threads; the trace has moments."""
    path = tmp_path / "out"
    command = ["record", "-t", "-d", "60", "-r", "100", "-f", form, "-o", path, *options]
    run(HERE / "py-spy", *command, "--", sys.executable, PROGRAM)
    one = formats.read(path.read_bytes())
    check_python(one)
    # py-spy does not ask again for the name of a thread that it saw before Python had named it.
    assert {thread for thread in threads(one) if isinstance(thread, str)} <= {"MainThread", "worker"}
    assert len({thread for thread in threads(one) if isinstance(thread, int)}) == 2
    assert (one.times is not None) == (form == "chrometrace")
    with_pid = any(label(labels, "pid") is not None for labels in one.label_sets)
    assert with_pid or not options


@pytest.mark.parametrize("binary", [False, True], ids=["text", "MOJO"])
@pytest.mark.parametrize("metrics", [[], ["-s"], ["-f", "-g"]], ids=["wall", "cpu", "full"])
def test_austin(tmp_path: Path, binary: bool, metrics: list[str]) -> None:
    """Both formats of austin say the same, in each mode, with moments that end where the recording ends."""
    path = tmp_path / "out"
    form = ["-b"] if binary else []
    # By itself austin gives the program 0.1 s to become Python, which a busy disk or processor takes away.
    run(HERE / "austin", "-t", "30s", "-i", "5ms", *form, *metrics, "-o", path, sys.executable, PROGRAM)
    content = path.read_bytes()
    assert formats.detect(content) == ("mojo" if binary else "collapsed")
    one = formats.read(content)
    check_python(one)
    assert len(threads(one)) == 2
    assert (one.recording.engine, one.recording.rate_hz) == ("austin", 200.0)
    assert one.sample_types[-1] == SampleType("cpu" if metrics == ["-s"] else "wall", "nanoseconds")
    assert one.times is not None
    assert list(one.times) == sorted(one.times)
    assert 0.2 * one.duration_ns < one.times[-1] <= 1.1 * one.duration_ns


def test_node_cpu(tmp_path: Path) -> None:
    """The CPU profile of Node names functions, files and lines, and lasts as long as it says."""
    run(need("node"), "--cpu-prof", f"--cpu-prof-dir={tmp_path}", PROGRAMS / "profiled.js")
    one = formats.read(next(tmp_path.glob("*.cpuprofile")).read_bytes())
    found = figures(one)
    assert 0 < found["inner"].total <= found["work"].total <= one.total(one.column())
    files = {frame.file for frame in one.frames if frame.function == "work"}
    assert files == {str(PROGRAMS / "profiled.js")}
    assert 0.9 * one.duration_ns < one.total(one.column()) <= one.duration_ns


def test_node_heap(tmp_path: Path) -> None:
    """The heap profile of Node names who allocated what is still there."""
    run(need("node"), "--heap-prof", f"--heap-prof-dir={tmp_path}", PROGRAMS / "profiled.js")
    one = formats.read(next(tmp_path.glob("*.heapprofile")).read_bytes())
    assert one.sample_types == (SampleType("inuse_space", "bytes"),)
    assert figures(one)["work"].total > 10 << 20


@pytest.mark.parametrize("native", [[], ["--native"]], ids=["python", "native"])
def test_memray(tmp_path: Path, native: list[str]) -> None:
    """What memray's table says adds up to what memray itself says."""
    recorded, table = tmp_path / "out.bin", tmp_path / "out.csv"
    run(HERE / "memray", "run", "-q", *native, "-o", recorded, PROGRAM)
    run(HERE / "memray", "transform", "csv", "-o", table, recorded)
    one = formats.read(table.read_bytes())
    peak = run(sys.executable, "-c", PEAK, recorded).stdout
    assert one.total(one.column("inuse_space")) == int(peak)
    assert figures(one)["inner"].total > 0
    assert memray.read(table.read_bytes(), kind="alloc").sample_types[1] == SampleType("alloc_space", "bytes")


PEAK = """
import sys, memray
records = memray.FileReader(sys.argv[1]).get_high_watermark_allocation_records(merge_threads=False)
print(sum(record.size for record in records))
"""


def test_perf(tmp_path: Path) -> None:
    """perf sees native code with addresses and files, and what the map of Node names."""
    perf, data = need("perf"), tmp_path / "perf.data"
    record = [perf, "record", "-q", "-e", "cpu-clock", "-F", "199", "-g", "-o", str(data), "--"]
    program = [need("node"), "--perf-basic-prof", "--interpreted-frames-native-stack", str(PROGRAMS / "profiled.js")]
    # V8 leaves a log of its own where it is started.
    done = subprocess.run(
        [*record, *program], capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd=tmp_path
    )
    maps = {int(path.stem.removeprefix("perf-")): path for path in Path("/tmp").glob("perf-*.map")}
    if done.returncode != 0:
        pytest.skip(f"perf may not record on this machine: {done.stderr.strip()[-200:]}")
    text = run(perf, "script", "-F", "comm,pid,tid,time,period,event,ip,sym,dso", "-i", data).stdout
    one = formats.read(text.encode())
    pids = {label(labels, "pid") for labels in one.label_sets} - {None}
    for pid in pids & set(maps):
        maps[pid].unlink()  # type: ignore[index]
    assert one.sample_types[1] == SampleType("cpu", "nanoseconds")
    found = figures(one)
    assert 0 < found["work"].total <= one.total(1)
    assert any(frame.file.endswith("profiled.js") and frame.line for frame in one.frames)
    assert any(frame.mapping and frame.mapping.file.startswith("/") for frame in one.frames)


def test_every_writer_takes_what_real_tools_give(tmp_path: Path) -> None:
    """A real profile keeps its sum through each format that we write and read."""
    path = tmp_path / "out"
    run(HERE / "py-spy", "record", "-d", "60", "-f", "raw", "-o", path, "--", sys.executable, PROGRAM)
    one = formats.read(path.read_bytes())
    for form in formats.WRITERS.keys() & formats.READERS.keys():
        assert formats.read(formats.write(one, form)).total(0) == one.total(0) > 0
