"""ELF reading against binutils, on real libraries, real processes and broken files."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import TIMEOUT_S, need
from unit.report.factory import maps_of_this_process

from diag.evidence import Mapped
from diag.report import foreign
from diag.report.demangle import demangle
from diag.report.elf import Symbolizer, build_id

LIBC = next(m.path for m in maps_of_this_process() if "libc.so" in m.path)
SOURCE = """
#include <stdio.h>
static int hidden(int n) { return n * 3; }
int target(int n) { volatile int kept = hidden(n); return kept + 1; }
int main(void) { printf("%p\\n", (void *)target); fflush(stdout); getchar(); return target(1); }
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program linked as PIE and not, each with its symbols and stripped of them."""
    gcc, strip = need("gcc"), need("strip")
    folder = tmp_path_factory.mktemp("elf")
    (folder / "program.c").write_text(SOURCE)
    made = {}
    for name, flag in (("pie", "-pie"), ("fixed", "-no-pie")):
        pic = "-fPIE" if name == "pie" else "-fno-pie"
        command = [gcc, "-O0", pic, flag, "-Wl,--build-id", "-o", str(folder / name), str(folder / "program.c")]
        subprocess.run(command, check=True, timeout=TIMEOUT_S)
        subprocess.run([strip, "-o", str(folder / f"{name}-stripped"), str(folder / name)], check=True)
        made |= {name: folder / name, f"{name}-stripped": folder / f"{name}-stripped"}
    return made


def read_build_id(path: str | Path) -> str:
    """The build id as readelf prints it."""
    said = subprocess.run([need("readelf"), "-n", str(path)], capture_output=True, text=True, check=True).stdout
    return re.search(r"Build ID: ([0-9a-f]+)", said)[1]


def functions(path: str | Path, *options: str) -> dict[int, set[str]]:
    """Address to names of the defined functions, as nm prints them."""
    said = subprocess.run(
        [need("nm"), "--defined-only", *options, str(path)], capture_output=True, text=True, check=True
    )
    found: dict[int, set[str]] = {}
    for line in said.stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in "tTwWi":
            found.setdefault(int(words[0], 16), set()).add(words[2].partition("@")[0])
    return found


def maps_of(pid: int) -> tuple[Mapped, ...]:
    """The memory map of a process."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        start, end = (int(word, 16) for word in words[0].split("-"))
        found.append(Mapped(start, end, words[1], int(words[2], 16), int(words[4]), words[5] if len(words) > 5 else ""))
    return tuple(found)


def test_build_ids_are_readelfs(programs: dict[str, Path]) -> None:
    """The build id of a library, the interpreter and fresh programs is what readelf says."""
    for path in (LIBC, os.path.realpath(sys.executable), *programs.values()):
        assert build_id(str(path)) == read_build_id(path)


@pytest.mark.parametrize("name", ["pie", "fixed", "pie-stripped", "fixed-stripped"])
def test_a_running_programs_address_gets_its_name(programs: dict[str, Path], name: str) -> None:
    """An address in a live process resolves to its function and to nm's offset, wherever it was loaded."""
    process = subprocess.Popen([programs[name]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        address = int(process.stdout.readline(), 16)
        symbol = Symbolizer(maps_of(process.pid)).resolve(address + 4)
    finally:
        process.communicate(timeout=TIMEOUT_S)
    nm = {names.pop(): at for at, names in functions(programs[name.removesuffix("-stripped")]).items()}
    assert symbol.offset == nm["target"] + 4
    assert symbol.build_id == read_build_id(programs[name])
    assert symbol.path == str(programs[name])
    if name.endswith("-stripped"):
        assert symbol.function is None
        assert symbol.name == f"{name}+{symbol.offset:#x}"
    else:
        assert symbol.name == "target"


def test_local_functions_have_names_too(programs: dict[str, Path]) -> None:
    """A static function is found in .symtab, which .dynsym does not list."""
    nm = {name: at for at, names in functions(programs["fixed"]).items() for name in names}
    maps = (Mapped(0x400000, 0x500000, "r-xp", 0, 0, str(programs["fixed"])),)
    assert Symbolizer(maps).resolve(0x400000 + nm["hidden"] - 0x400000 + 2).name == "hidden"


def test_libcs_functions_are_nms() -> None:
    """Exported functions of libc resolve to one of the names that nm lists at their address."""
    exported = functions(LIBC, "-D")
    maps = maps_of_this_process()
    code = next(m for m in maps if m.path == LIBC and "x" in m.permissions)
    base = code.start - code.offset
    sample = sorted(random.Random(7).sample(sorted(exported), 200))
    resolved = Symbolizer(maps).resolve_all(base + at for at in sample)
    wrong = {hex(at): resolved[base + at].name for at in sample if resolved[base + at].name not in exported[at]}
    assert not wrong


def test_the_interpreters_functions_resolve() -> None:
    """A function of the running interpreter has its name, and what is not mapped has none."""
    import ctypes

    symbols = Symbolizer(maps_of_this_process())
    address = ctypes.cast(ctypes.pythonapi.PyObject_Call, ctypes.c_void_p).value
    assert symbols.resolve(address + 3).name == "PyObject_Call"
    assert symbols.resolve(8) is None


def test_instruction_bytes_come_from_the_file() -> None:
    """The code at an address is what the process executes there."""
    import ctypes

    address = ctypes.cast(ctypes.pythonapi.PyObject_Call, ctypes.c_void_p).value
    assert Symbolizer(maps_of_this_process()).code(address, 16) == ctypes.string_at(address, 16)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A FIFO, a device, a folder, a deleted or missing file and a relative path are unknown, at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (
        str(fifo),
        "/dev/zero",
        str(tmp_path),
        f"{LIBC} (deleted)",
        "/no/such/file",
        "libc.so.6",
        "[vdso]",
        "/\0",
    ):
        assert build_id(path) is None


def test_nothing_outside_the_root_is_read(tmp_path: Path) -> None:
    """Under a foreign root, a symbolic link or `..` leads nowhere; a file in it is read."""
    (tmp_path / "root" / "lib").mkdir(parents=True)
    (tmp_path / "root" / "lib" / "real.so").write_bytes(Path(LIBC).read_bytes())
    (tmp_path / "outside.so").write_bytes(Path(LIBC).read_bytes())
    (tmp_path / "root" / "lib" / "link.so").symlink_to(LIBC)
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    root = str(tmp_path / "root")
    assert build_id("/lib/real.so", root) == read_build_id(LIBC)
    for path in ("/lib/link.so", "/out/outside.so", "/../outside.so", "/lib/../../outside.so", "/lib"):
        assert build_id(path, root) is None


def test_too_large_a_file_is_left_alone(tmp_path: Path) -> None:
    """A file above the size limit is not parsed, however good its start is."""
    path = tmp_path / "large"
    path.write_bytes(Path(LIBC).read_bytes())
    os.truncate(path, foreign.MAX_FILE_BYTES + 1)
    assert build_id(str(path)) is None


def broken_files() -> Iterator[tuple[str, bytes]]:
    """ELF files as no linker makes them."""
    good = Path(LIBC).read_bytes()[: 1 << 20]
    yield "empty", b""
    yield "text", b"#!/bin/sh\n" * 100
    yield "magic only", good[:4]
    yield "header cut", good[:40]
    yield "first page only", good[:4096]
    yield "section count 65535", good[:60] + b"\xff\xff" + good[62:]
    yield "segment count 65535", good[:56] + b"\xff\xff" + good[58:]
    yield "section table at the end of the address space", good[:40] + b"\xff" * 8 + good[48:]
    yield "segment table in itself", good[:32] + bytes(8) + good[40:]
    yield "entry sizes of zero", good[:54] + bytes(2) + good[56:58] + bytes(2) + good[60:]
    yield "every size is 2**63", re.sub(rb"\x00{8}", struct.pack("<Q", 1 << 63), good[:65536])
    chance = random.Random(11)
    for number in range(150):
        mutated = bytearray(good[:131072])
        for _ in range(chance.choice((4, 40, 400))):
            mutated[chance.randrange(1024 if number % 2 else len(mutated))] = chance.randrange(256)
        yield f"mutation {number}", bytes(mutated)


def test_broken_files_raise_nothing(tmp_path: Path) -> None:
    """Whatever the bytes are, the answer is a build id, a name or nothing, and it comes."""
    for number, (what, content) in enumerate(broken_files()):
        path = tmp_path / str(number)
        path.write_bytes(content)
        found = build_id(str(path))
        assert found is None or re.fullmatch("[0-9a-f]{2,128}", found), what
        symbol = Symbolizer((Mapped(0x1000, 0x100000, "r-xp", 0, 0, str(path)),)).resolve(0x30000)
        assert symbol is not None, what
        assert isinstance(symbol.name, str), what


def test_a_replaced_file_is_read_anew(tmp_path: Path, programs: dict[str, Path]) -> None:
    """The cache knows a file by device, inode and time, not by its path."""
    path = tmp_path / "program"
    path.write_bytes(programs["pie"].read_bytes())
    first = build_id(str(path))
    path.unlink()
    path.write_bytes(programs["fixed"].read_bytes())
    assert (first, build_id(str(path))) == (read_build_id(programs["pie"]), read_build_id(programs["fixed"]))


def test_cpp_names_become_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mangled names are demangled where c++filt is installed, and left alone where it is not."""
    need("c++filt")
    names = ["_ZN3app5Store3getEi", "main", "_Znot_mangled\n_ZN3app5Store3getEi"]
    assert demangle(names) == {"_ZN3app5Store3getEi": "app::Store::get(int)"}
    monkeypatch.setenv("PATH", "/nonexistent")
    assert demangle(names) == {}
