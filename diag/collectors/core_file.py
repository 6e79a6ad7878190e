"""What an ELF core file says without a tool: the signal, registers, threads, mappings, arguments and environment.

Source: fs/binfmt_elf.c and include/linux/elfcore.h of Linux, core(5). What is not there is in `missing`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from diag.collectors import core_elf
from diag.collectors.core_elf import LOAD, X86_64, CoreElf
from diag.collectors.procfs import decode, parse_environment
from diag.evidence import Mapped
from diag.model import Missing

THREADS_READ = 20_000
FILES_READ = 1 << 17
STACK_SEARCHED = 8 * 1024 * 1024  # arguments and environment may take a quarter of the stack's limit
STACKS_SEARCHED = 4  # the main thread's is the uppermost, as a rule

_PRSTATUS, _PRPSINFO, _AUXV, _FILE, _SIGINFO = 1, 3, 6, 0x46494C45, 0x53494749
_AT_ENTRY, _AT_SYSINFO_EHDR = 9, 33
# arch/x86/include/asm/user_64.h, struct user_regs_struct
_REGISTERS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
)
_SHOWN = frozenset(
    [
        *(f"r{number}" for number in range(8, 16)),
        *["rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip", "eflags"],
    ]
)
_STATUS = "iiihxxQQiiiiqqqq"  # elf_prstatus: siginfo, cursig, masks, four pids, user and system time, …
_REGISTERS_AT = 112
_PSINFO = "cccbxxxxQIIiiii16s80s"  # elf_prpsinfo


@dataclass(frozen=True, slots=True)
class CoreThread:
    """One thread as its NT_PRSTATUS has it; the first of a core is the one that died. Times in seconds."""

    thread_id: int
    signal: int
    registers: dict[str, int]
    user_s: float = 0.0
    system_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """NT_SIGINFO. `address` is where the processor raised it, `sender` and `uid` who sent it otherwise."""

    signal: int
    code: int
    address: int | None = None
    sender: int | None = None
    uid: int | None = None


@dataclass(frozen=True, slots=True)
class Core:
    """A core file, read. `build_ids` are those of the mapped files, by path, as far as their first page is in it."""

    path: Path
    machine: str
    pid: int = 0
    parent_pid: int = 0
    uid: int | None = None
    name: str = ""
    executable: str | None = None
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    threads: tuple[CoreThread, ...] = ()
    siginfo: SignalInfo | None = None
    maps: tuple[Mapped, ...] = ()
    build_ids: dict[str, str] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()

    @property
    def signal(self) -> int:
        """The signal that ended it; 0 where it was only copied (gcore), or where the file does not say."""
        return self.threads[0].signal if self.threads else 0


def read(path: Path) -> Core:
    """What the core says. Raises NotACore where the file is none, or cannot be read."""
    with core_elf.opened(path) as elf:
        return _core(path, elf)


def _core(path: Path, elf: CoreElf) -> Core:
    core = Core(path, elf.machine)
    files: list[Mapped] = []
    threads: list[CoreThread] = []
    auxv = b""
    for kind, value in elf.notes():
        if kind == _PRSTATUS and len(threads) < THREADS_READ and (thread := _thread(value, elf)):
            threads.append(thread)
        elif kind == _PRPSINFO:
            core = _with_process(core, value, elf.order)
        elif kind == _SIGINFO:
            core = replace(core, siginfo=_siginfo(value, elf.order))
        elif kind == _FILE:
            files += _files(value, elf.order)
        elif kind == _AUXV:
            auxv = value
    if not threads:
        elf.miss("signal", "the core holds no thread's state: it was cut off before it, or never had it")
    if elf.machine != X86_64:
        elf.miss("signal.registers", f"the core is of {elf.machine}; registers are read of x86_64 only")
    if not files:
        elf.miss("sharedObjects", "the core does not name the files that were mapped")
    told = dict(struct.iter_unpack(elf.order + "QQ", auxv[: len(auxv) // 16 * 16]))
    stack = next((thread.registers.get("rsp", 0) for thread in threads if thread.thread_id == core.pid), 0)
    maps = tuple(_maps(elf, files, vdso=told.get(_AT_SYSINFO_EHDR), stack=stack))
    entry = told.get(_AT_ENTRY, 0)
    command, environment = _started_with(elf, maps, auxv)
    if not command and core.command:
        elf.miss("header.commandLine", "the stack with the arguments is not in the core; of them 80 characters are")
    return replace(
        core,
        pid=core.pid or (threads[0].thread_id if threads else 0),
        executable=next((m.path for m in maps if m.path and m.start <= entry < m.end), None),
        command=command or core.command,
        environment=environment,
        threads=tuple(threads),
        maps=maps,
        build_ids=dict(_build_ids(elf, maps)),
        missing=tuple(elf.missing),
    )


def _thread(value: bytes, elf: CoreElf) -> CoreThread | None:
    layout = struct.Struct(elf.order + _STATUS)
    if len(value) < layout.size:
        return None
    found = layout.unpack_from(value)
    registers: dict[str, int] = {}
    if elf.machine == X86_64 and len(value) >= _REGISTERS_AT + 8 * len(_REGISTERS):
        values = struct.unpack_from(f"<{len(_REGISTERS)}Q", value, _REGISTERS_AT)
        registers = {name: number for name, number in zip(_REGISTERS, values, strict=True) if name in _SHOWN}
    return CoreThread(found[6], found[3], registers, found[10] + found[11] / 1e6, found[12] + found[13] / 1e6)


def _with_process(core: Core, value: bytes, order: str) -> Core:
    layout = struct.Struct(order + _PSINFO)
    if len(value) < layout.size:
        return core
    found = layout.unpack_from(value)
    name, words = (decode(part.partition(b"\0")[0]) for part in found[-2:])
    return replace(core, pid=found[7], parent_pid=found[8], uid=found[5], name=name, command=tuple(words.split()))


def _siginfo(value: bytes, order: str) -> SignalInfo | None:
    if len(value) < 32:
        return None
    number, _, code = struct.unpack_from(order + "iii", value, 0)
    if code > 0:
        return SignalInfo(number, code, address=struct.unpack_from(order + "Q", value, 16)[0])
    sender, uid = struct.unpack_from(order + "iI", value, 16)
    return SignalInfo(number, code, sender=sender, uid=uid)


def _files(value: bytes, order: str) -> Iterator[Mapped]:
    """The mapped files. What gdb leaves out of a core, since the file has it, is code and constants."""
    if len(value) < 16:
        return
    count, page = struct.unpack_from(order + "QQ", value, 0)
    count = min(count, (len(value) - 16) // 24, FILES_READ)
    for index, name in zip(range(count), value[16 + count * 24 :].split(b"\0"), strict=False):
        start, end, pages = struct.unpack_from(order + "QQQ", value, 16 + index * 24)
        yield Mapped(start, end, "r-xp", pages * page, 0, decode(name))


def _maps(elf: CoreElf, files: list[Mapped], *, vdso: int | None, stack: int) -> Iterator[Mapped]:
    behind = {file.start: file for file in files}
    found = []
    for part in elf.segments:
        if part.kind != LOAD:
            continue
        letters = "".join(letter if part.flags & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        file = behind.pop(part.start, None)
        offset, path = (file.offset, file.path) if file else (0, "")
        if not path and part.start == vdso:
            path = "[vdso]"
        elif not path and part.start <= stack < part.start + part.size:
            path = "[stack]"
        found.append(Mapped(part.start, part.start + part.size, f"{letters}p", offset, 0, path))
    yield from sorted([*found, *behind.values()], key=lambda mapped: mapped.start)


def _build_ids(elf: CoreElf, maps: tuple[Mapped, ...]) -> Iterator[tuple[str, str]]:
    for mapped in maps:
        if mapped.path.startswith("/") and not mapped.offset:
            value = elf.build_id(mapped.start)
            if value:
                yield mapped.path, value


def _started_with(elf: CoreElf, maps: tuple[Mapped, ...], auxv: bytes) -> tuple[tuple[str, ...], dict[str, str]]:
    """Arguments and environment as they stood at the start, from above the main thread's stack.

    There the kernel wrote the auxiliary vector, which is also a note, and below it the pointers to both
    (create_elf_tables).
    """
    stacks = [m for m in reversed(maps) if m.path in ("", "[stack]") and m.permissions.startswith("rw")]
    for mapped in stacks[:STACKS_SEARCHED] if len(auxv) >= 32 else ():
        start = max(mapped.start, mapped.end - STACK_SEARCHED)
        raw = elf.memory(start, mapped.end - start)
        at = raw.rfind(auxv)
        if at >= 16:
            words = list(struct.unpack(f"{elf.order}{at // 8}Q", raw[at % 8 : at]))
            return _texts(words, raw, start)
    elf.miss("environmentVariables", "the stack that holds the environment is not in the core")
    return (), {}


def _texts(words: list[int], raw: bytes, start: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """(arguments, environment) by the words below the auxiliary vector: argc, pointers, 0, pointers, 0."""

    def text(address: int) -> bytes:
        at = address - start
        return raw[at : raw.find(b"\0", at)] if 0 <= at < len(raw) else b""

    def pointers() -> list[int]:
        found = []
        while words and words[-1] >= start:
            found.append(words.pop())
        return found[::-1]

    words.pop()
    environment = pointers()
    if not words or words.pop() != 0:
        return (), {}
    arguments = pointers()
    if not words or words[-1] != len(arguments):
        return (), {}
    variables = parse_environment(b"\0".join(text(address) for address in environment))
    return tuple(decode(text(address)) for address in arguments), variables
