"""Core files: written by hand, as the kernel would, and by the kernel itself."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import TIMEOUT_S, missing

X86_64, AARCH64 = 62, 183
STACK = 0x7FFC_0000_0000
CODE = 0x5555_5555_4000
PAGE = 4096


@dataclass
class Made:
    """A core to be written; a field of it is what the file says, whether it is true or not."""

    machine: int = X86_64
    kind: int = 4  # ET_CORE
    signal: int = 11
    code: int = 1
    address: int = 0
    sender: tuple[int, int] | None = None
    threads: Sequence[int] = (4711, 4712)
    registers: dict[str, int] = field(default_factory=lambda: {"rip": CODE + 0x19C, "rsp": STACK + 0x100})
    name: bytes = b"shop"
    arguments: Sequence[bytes] = (b"./shop", b"--token=hunter2-planted")
    environment: Sequence[bytes] = (b"LANG=C", b"API_KEY=hunter2-planted")
    path: bytes = b"/srv/shop"

    def content(self) -> bytes:
        """The file's bytes."""
        auxv = struct.pack("<6Q", 9, CODE + 0x10, 3, CODE, 0, 0)
        stack = self._stack(auxv)
        notes = b"".join(self._notes(auxv))
        at = 64 + 56 * 3
        code_at = at + len(notes)
        headers = [
            _segment(4, 0, at, 0, len(notes), 0),
            _segment(1, 5, code_at, CODE, 0, PAGE),
            _segment(1, 6, code_at, STACK, len(stack), len(stack)),
        ]
        ident = b"\x7fELF\2\1\1" + bytes(9)
        head = ident + struct.pack("<HHIQQQIHHHHHH", self.kind, self.machine, 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0)
        return head + b"".join(headers) + notes + stack

    def write(self, path: Path) -> Path:
        """The file."""
        path.write_bytes(self.content())
        return path

    def _stack(self, auxv: bytes) -> bytes:
        """What the kernel puts above the stack: argc, pointers, the vector, and then the texts."""
        texts = [*self.arguments, *self.environment]
        count = 1 + len(self.arguments) + 1 + len(self.environment) + 1
        at = STACK + 0x200 + count * 8 + len(auxv)
        pointers = []
        for text in texts:
            pointers.append(at)
            at += len(text) + 1
        words = [len(self.arguments), *pointers[: len(self.arguments)], 0, *pointers[len(self.arguments) :], 0]
        body = bytes(0x200) + struct.pack(f"<{count}Q", *words) + auxv + b"".join(text + b"\0" for text in texts)
        return body + bytes(-len(body) % 8)

    def _notes(self, auxv: bytes) -> list[bytes]:
        found = []
        for number, thread in enumerate(self.threads):
            found.append(_note(1, self._status(thread)))
            if not number:
                found.append(_note(3, self._process()))
                rest = struct.pack("<iI", *self.sender) if self.sender else struct.pack("<Q", self.address)
                found.append(
                    _note(0x53494749, struct.pack("<iiii", self.signal, 0, self.code, 0) + rest.ljust(112, b"\0"))
                )
                found.append(_note(6, auxv))
                found.append(_note(0x46494C45, struct.pack("<5Q", 1, PAGE, CODE, CODE + PAGE, 0) + self.path + b"\0"))
        return found

    def _status(self, thread: int) -> bytes:
        head = struct.pack("<iiihxxQQ", 0, 0, 0, self.signal, 0, 0)
        head += struct.pack("<iiiiqqqq", thread, 1, 1, 1, 1, 250_000, 2, 0) + bytes(32)
        places = {"rip": 16, "rsp": 19}  # struct user_regs_struct
        values = [0] * 27
        for name, value in self.registers.items():
            values[places[name]] = value
        return head + struct.pack("<27Q", *values) + bytes(8)

    def _process(self) -> bytes:
        words = b" ".join(self.arguments)[:79]
        ids = (0, 1000, 1000, 4711, 1, 1, 1)
        return struct.pack("<cccbxxxxQIIiiii16s80s", b"\0", b"R", b"\0", 0, *ids, self.name, words)


def _segment(kind: int, flags: int, offset: int, start: int, in_file: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, offset, start, 0, in_file, size, PAGE)


def _note(kind: int, value: bytes) -> bytes:
    return struct.pack("<III", 5, len(value), kind) + b"CORE\0\0\0\0" + value + bytes(-len(value) % 4)


@contextmanager
def core_pattern(*, changing: bool = False) -> Iterator[Path]:
    """The machine's one core pattern, for as long as nobody else changes it, in this suite or another."""
    path = Path(f"/tmp/diag-core-pattern.{os.geteuid()}")
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if changing else fcntl.LOCK_SH)
        yield Path("/proc/sys/kernel/core_pattern")


def dumped(folder: Path, *command: str, **options: Any) -> Path:
    """Run the command in the folder until it dies; the core file that the kernel wrote there."""
    limit = resource.RLIM_INFINITY

    def allow() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))

    if resource.getrlimit(resource.RLIMIT_CORE)[1] != limit:
        missing("This process may not allow itself core files (ulimit -Hc).")
    with core_pattern() as path:
        pattern = path.read_text().strip()
        if pattern != "core":
            missing(f"Cores are not written to the working directory here (kernel.core_pattern is {pattern!r}).")
        done = subprocess.run(
            command, cwd=folder, preexec_fn=allow, capture_output=True, timeout=TIMEOUT_S, check=False, **options
        )
    assert done.returncode < 0, signal.Signals(-done.returncode) if done.returncode < 0 else done
    return next(path for path in folder.iterdir() if path.name.startswith("core"))
