"""What a core file says, whole, cut off, foreign, and made to hurt."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest
from core_files import AARCH64, CODE, STACK, Made

from diag.collectors import core_file
from diag.collectors.core_file import SignalInfo
from diag.errors import NotACore


def test_everything_is_read(tmp_path: Path) -> None:
    """Signal, registers, threads, arguments whole, environment, mappings and the program."""
    core = core_file.read(Made(address=8).write(tmp_path / "core"))

    assert (core.pid, core.parent_pid, core.uid, core.name, core.machine) == (4711, 1, 1000, "shop", "x86_64")
    assert [thread.thread_id for thread in core.threads] == [4711, 4712]
    assert (core.signal, core.siginfo) == (11, SignalInfo(11, 1, address=8))
    assert core.threads[0].registers["rip"] == CODE + 0x19C
    assert core.threads[0].user_s == 1.25
    assert core.command == ("./shop", "--token=hunter2-planted")
    assert core.environment == {"LANG": "C", "API_KEY": "hunter2-planted"}
    assert core.executable == "/srv/shop"
    assert [(m.start, m.permissions, m.path) for m in core.maps] == [
        (CODE, "r-xp", "/srv/shop"),
        (STACK, "rw-p", "[stack]"),
    ]
    assert core.missing == ()


def test_a_sender_is_told(tmp_path: Path) -> None:
    """A signal that a program sent has its sender where a fault has its address."""
    core = core_file.read(Made(code=0, sender=(812, 1000)).write(tmp_path / "core"))

    assert core.siginfo == SignalInfo(11, 0, sender=812, uid=1000)


def test_another_machine_s_core_has_no_registers(tmp_path: Path) -> None:
    """Of aarch64 the signal and the threads are read, and it says that the registers are not."""
    core = core_file.read(Made(machine=AARCH64).write(tmp_path / "core"))

    assert (core.machine, core.signal, len(core.threads)) == ("aarch64", 11, 2)
    assert core.threads[0].registers == {}
    assert any("aarch64" in gap.reason for gap in core.missing)


def test_a_cut_core_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Wherever a core ends, nothing fails, and it says what is not there; cut in its header it is none."""
    whole = Made().content()
    path = tmp_path / "core"
    threads = set()
    for size in range(64, len(whole), 8):
        path.write_bytes(whole[:size])
        core = core_file.read(path)
        assert any(gap.section == "core" for gap in core.missing), size
        threads.add(len(core.threads))
    assert threads == {0, 1, 2}


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", Made(kind=2).content(), b"\x7fELF\1" + bytes(99)])
def test_what_is_no_core_is_refused(content: bytes, tmp_path: Path) -> None:
    """An empty file, a text, the start of a header, a program, and a 32-bit file are no cores."""
    (tmp_path / "core").write_bytes(content)

    with pytest.raises(NotACore):
        core_file.read(tmp_path / "core")


def test_damaged_cores_are_read_in_bounds(tmp_path: Path) -> None:
    """Whatever stands in a core, reading it ends without an error of ours, and in little memory."""
    chance = random.Random(7)
    whole = Made().content()
    path = tmp_path / "core"
    tracemalloc.start()
    try:
        for _ in range(400):
            damaged = bytearray(whole)
            for _ in range(chance.randint(1, 12)):
                at = chance.randrange(20, len(damaged))
                damaged[at : at + 4] = chance.choice([b"\xff" * 4, b"\0" * 4, chance.randbytes(4)])
            path.write_bytes(damaged)
            core_file.read(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_huge_sparse_core_is_not_read_whole(tmp_path: Path) -> None:
    """Of a core of 100 GB with nothing in it only the parts that say something are read."""
    path = Made().write(tmp_path / "core")
    with path.open("r+b") as file:
        file.truncate(100 << 30)

    tracemalloc.start()
    try:
        core = core_file.read(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert core.signal == 11
