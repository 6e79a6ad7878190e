"""What Go's own pprof says of our files, and what is left of Go's files when they went through us."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from machine import PROGRAMS, need
from profiled import COUNT, CPU, MAIN, WORKER, profile

from diag.profiles import diff, pprof_read, pprof_write, tables
from diag.profiles.builder import Builder
from diag.profiles.model import Frame, Label, Mapping, Profile, Recording

LIMIT_S = 100
Save = Callable[..., Path]
# `10ns  5.00%  5.00%  40ns 20.00%  main.work (inline)`
ROW = re.compile(r"\s*(-?\d+)(?:ns|B)?\s+\S+%\s+\S+%\s+(-?\d+)(?:ns|B)?\s+\S+%\s+(.+?)(?: \(inline\))?\s*")


def pprof(*arguments: str | Path) -> str:
    """What `go tool pprof` prints."""
    command = [need("go"), "tool", "pprof", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S).stdout


def top(path: Path, *options: str | Path) -> dict[str, tuple[int, int]]:
    """(flat, cumulative) by function, as Go counts them, to the last one and unrounded."""
    everything = ("-top", "-nodecount=1000000", "-nodefraction=0", "-edgefraction=0", "-trim=false", "-unit=ns")
    rows = map(ROW.fullmatch, pprof(*everything, *options, path).splitlines())
    return {row[3]: (int(row[1]), int(row[2])) for row in rows if row}


def ours(one: Profile, column: int) -> dict[str, tuple[int, int]]:
    """The same from our tables. Files are not told apart."""
    found = tables.by_frame(one, column, lambda frame: tables.function_of(frame).name)
    return {name: (figures.own, figures.total) for name, figures in found.items() if figures.own or figures.total}


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a profile into a file."""

    def write(one: Profile, name: str = "one.pb.gz") -> Path:
        path = tmp_path / name
        path.write_bytes(pprof_write.write(one))
        return path

    return write


def anything(seed: int) -> Profile:
    """Many stacks, with recursion, inlined frames and native addresses."""
    chance = random.Random(seed)
    builder = Builder([COUNT, CPU])
    shared = Mapping(0x1000, 0x9000, 0, "/lib/libshared.so", "beef", True, True, True, True)
    # What one address stands for: one function, or one that was inlined and the one that it was put into.
    places = [(builder.frame(Frame(f"f{index}", f"/srv/m{index % 3}.py", index + 1)),) for index in range(12)]
    for index in range(4):
        inner = Frame(f"i{index}", "n.c", 9, address=0x2000 + index, mapping=shared, inlined=True)
        outer = Frame(f"n{index}", "n.c", 5, address=0x2000 + index, mapping=shared)
        places.append((builder.frame(inner), builder.frame(outer)))
    labels = [builder.labels(one) for one in (MAIN, WORKER, [Label("size", 512, "bytes")])]
    for _ in range(400):
        stack = [frame for _ in range(chance.randrange(1, 30)) for frame in chance.choice(places)]
        builder.add(builder.stack(tuple(stack)), (1, chance.randrange(1, 10**9)), chance.choice(labels))
    return builder.build(default_type="cpu", mappings=(Mapping(file="/usr/bin/python3"), shared), comments=("hello",))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_go_counts_what_we_count(save: Save, seed: int) -> None:
    """Flat and cumulative figures of every function are Go's, for each sample type; recursion counts once."""
    one = anything(seed)
    path = save(one)
    for column, kind in enumerate(one.sample_types):
        found = top(path, f"-sample_index={kind.name}")
        assert len(found) > 12
        assert found == ours(one, column)


def test_go_sees_labels_and_comments(save: Save) -> None:
    """Tags can be focused on; numbers have their unit; what was lost stands among the comments."""
    one = replace(anything(4), recording=Recording("py-spy", lost=3))
    path = save(one)
    worker = tables.by_label(one, 1, "thread")["worker",]
    focused = top(path, "-tagfocus=thread=worker")
    assert sum(flat for flat, _ in focused.values()) == worker > 0
    assert "512B" in pprof("-tags", path)
    assert pprof("-comments", path).splitlines() == ["hello", 'diag {"engine": "py-spy", "lost": 3}']


def test_go_sees_no_sample_that_was_lost(save: Save) -> None:
    """A lost sample is no stack, no function and no tag."""
    one = replace(profile(("main", 5)), recording=Recording(lost=99, invalid=98))
    assert top(save(one)) == {"main": (5, 5)}


def test_go_makes_the_same_difference(save: Save) -> None:
    """`-diff_base` says of two profiles what our difference says."""
    base, new = anything(5), anything(6)
    both = top(save(new, "new.pb.gz"), f"-diff_base={save(base, 'base.pb.gz')}")
    difference = diff.difference(base, new, normalized=False)
    assert both == top(save(difference, "diff.pb.gz")) == ours(difference, 1)


@pytest.fixture(scope="module")
def written_by_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the profiles `cpu` and `heap` of a Go program."""
    folder = tmp_path_factory.mktemp("go")
    program = folder / "profiled"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    build = [need("go"), "build", "-o", str(program), str(PROGRAMS / "profiled.go")]
    subprocess.run(build, check=True, env=environment, timeout=LIMIT_S)
    subprocess.run([program, folder], check=True, timeout=LIMIT_S)
    return folder


def traces(path: Path) -> list[str]:
    """Every sample with its stack, labels and lines, as Go prints it."""
    text = pprof("-traces", "-lines", "-unit=ns", path)
    return sorted(block.strip() for block in re.split(r"-{5,}\+-+", text)[1:])


@pytest.mark.parametrize("kind", ["cpu", "heap"])
def test_a_profile_of_go_loses_nothing(written_by_go: Path, save: Save, kind: str) -> None:
    """Read and written again, Go sees the same samples, inlined lines, labels and mappings in it."""
    original = written_by_go / kind
    one = pprof_read.read(original.read_bytes())
    path = save(one)
    assert len(traces(original)) > 1
    assert traces(path) == traces(original)
    for name in [kind.name for kind in one.sample_types]:
        assert top(path, f"-sample_index={name}") == top(original, f"-sample_index={name}")
    mappings = [text.partition("Mappings")[2] for text in (pprof("-raw", path), pprof("-raw", original))]
    assert mappings[0] == mappings[1] != ""


def test_a_profile_of_go_is_understood(written_by_go: Path) -> None:
    """Functions, recursion, labels and build ids of a Go program are what its source says."""
    one = pprof_read.read((written_by_go / "cpu").read_bytes())
    figures = {function.name: found for function, found in tables.by_function(one, one.column("cpu")).items()}
    assert figures["main.work"].own < figures["main.work"].total <= one.total(1)
    assert tables.by_label(one, 1, "request_id")["r1",] > 0
    assert one.mappings[0].file.endswith("profiled")
    heap = pprof_read.read((written_by_go / "heap").read_bytes())
    assert [kind.name for kind in heap.sample_types] == ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]
    assert heap.total(heap.column("inuse_space")) >= 32 << 20
