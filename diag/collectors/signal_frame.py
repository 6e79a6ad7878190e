"""The kernel's signal frame: what a thread was doing when a signal interrupted it, read while its handler still runs.

On delivery the kernel pushes a `struct rt_sigframe` onto the handler's stack: the address to return to (libc's
`rt_sigreturn` stub), a `struct ucontext` with every register, and a `siginfo`. A thread that blocks inside the handler
has it just above its stack pointer. Layout: sigframe.h, uapi/asm/ucontext.h, uapi/asm/sigcontext.h of arch/x86.
"""

from __future__ import annotations

import os
import signal as signals
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from diag.collectors.procfs import ProcFolder, parse_maps
from diag.evidence import Fault, Frame, Mapped

RESTORER_CODE = bytes.fromhex("48c7c00f0000000f05")  # mov $15 (rt_sigreturn), %rax; syscall
SEARCH_BYTES = 1 << 18
PAGE_BYTES = 4096
WRITES = {1, 44, 46}  # write, sendto, sendmsg
SEQPACKET = "0005"
RESTORER_NAMES = ("__restore_rt", "__restore")

_REGISTERS = (
    *(f"r{number}" for number in range(8, 16)),
    *("rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip", "eflags"),
)
_CONTEXT = struct.Struct("<18Q4H4QQ")  # …, cs gs fs ss, err trapno oldmask cr2, fpstate
_CONTEXT_AT = 8 + 40  # after the return address, uc_flags, uc_link and uc_stack
_SIGINFO_AT = 8 + 304
_SIGINFO = struct.Struct("<iii")  # si_signo, si_errno, si_code
_USER_CS, _USER_SS = 0x33, 0x2B
_FPSTATE_NEAR = 1 << 16

FPE_INTDIV = 1
PAGE_FAULT = 14
_TRAP_SIGNALS = {
    6: signals.SIGILL,
    13: signals.SIGSEGV,
    PAGE_FAULT: signals.SIGSEGV,
    16: signals.SIGFPE,
    17: signals.SIGBUS,
    19: signals.SIGFPE,
}
_FATAL = (signals.SIGSEGV, signals.SIGBUS, signals.SIGFPE, signals.SIGILL, signals.SIGABRT)


@dataclass(frozen=True, slots=True)
class FaultFrame(Fault):
    """A Fault, and the address of the stub the handler returns to: stack frames up to it belong to the handler."""

    restorer: int | None = None


def read_fault(pid: int, thread_id: int, *, signal: int | None = None) -> FaultFrame | None:
    """The signal frame of a thread that is blocked in a system call inside its handler.

    `signal` is what the caller knows; CPython's handlers are installed without SA_SIGINFO, so the frame itself may
    not tell. None where there is no such frame, on processors other than x86-64, and where the process is gone or
    cannot be read. Raises NoSuchInstance.
    """
    if os.uname().machine != "x86_64":
        return None
    with ProcFolder(pid) as folder:
        try:
            stack_pointer = _stack_pointer(folder, thread_id)
            if stack_pointer is None:
                return None
            maps = parse_maps(folder.text("maps"))
            memory = folder.open("mem")
        except OSError:
            return None
        try:
            return _find(_Memory(memory, maps), stack_pointer, thread_id, signal)
        finally:
            os.close(memory)


def blocked_writer(pid: int, inode: int | None = None, *, wait_s: float = 0.05) -> int | None:
    """The thread that stands in a write to a socket: the one with this inode, or any SOCK_SEQPACKET Unix socket.

    A thread inside a signal handler is preferred over one that merely writes. Waits a moment for the writer to get
    stuck; None where nobody does. Raises NoSuchInstance.
    """
    until = time.monotonic() + wait_s
    with ProcFolder(pid) as folder:
        while True:
            writers = _writers(folder, inode)
            if writers or time.monotonic() >= until:
                break
            time.sleep(0.0005)
    if len(writers) < 2:
        return next(iter(writers), None)
    return next((thread_id for thread_id in writers if read_fault(pid, thread_id)), writers[0])


def _writers(folder: ProcFolder, inode: int | None) -> list[int]:
    try:
        wanted = {inode} if inode is not None else _seqpacket_inodes(folder)
        thread_ids = sorted(int(name) for name in folder.names("task"))
    except OSError:
        return []
    return [thread_id for thread_id in thread_ids if _written_inode(folder, thread_id) in wanted]


def cut_handler(frames: tuple[Frame, ...], restorer: int | None) -> tuple[Frame, ...]:
    """The stack as the signal found it: without the frames of the handler, down to and with the return stub."""
    for index, frame in enumerate(frames):
        at_stub = restorer is not None and frame.address == restorer
        if at_stub or (frame.language == "native" and frame.function in RESTORER_NAMES):
            return frames[index + 1 :]
    return frames


class _Memory:
    """A process's memory with its mappings; reads give None where nothing can be read."""

    def __init__(self, fd: int, maps: Iterable[Mapped]) -> None:
        self.fd = fd
        self.code = [(mapped.start, mapped.end) for mapped in maps if "x" in mapped.permissions]

    def read(self, address: int, size: int) -> bytes | None:
        try:
            content = os.pread(self.fd, size, address)
        except (OSError, OverflowError):
            return None
        return content if len(content) == size else None

    def is_restorer(self, address: int) -> bool:
        """Whether the address is that of a `rt_sigreturn` stub."""
        if not any(start <= address < end for start, end in self.code):
            return False
        return self.read(address, len(RESTORER_CODE)) == RESTORER_CODE

    def is_division(self, address: int) -> bool:
        """Whether an integer division stands there: a division error has trap number 0, as a sent signal has."""
        code = self.read(address, 4) or b""
        code = code[1:] if code[:1] == b"\x66" else code
        code = code[1:] if code and code[0] & 0xF0 == 0x40 else code  # REX
        return len(code) >= 2 and code[0] in (0xF6, 0xF7) and code[1] >> 3 & 7 in (6, 7)


def _stack_pointer(folder: ProcFolder, thread_id: int) -> int | None:
    """Where the thread's stack ends while it is blocked; None while it runs (proc_pid_syscall(5))."""
    words = folder.small(f"task/{thread_id}/syscall").split()
    return int(words[-2], 16) if len(words) >= 3 else None


def _find(memory: _Memory, stack_pointer: int, thread_id: int, signal: int | None) -> FaultFrame | None:
    for address, word in _words(memory, stack_pointer):
        if memory.is_restorer(word):
            found = _parse(memory, address, word, thread_id, signal)
            if found:
                return found
    return None


def _words(memory: _Memory, stack_pointer: int) -> Iterator[tuple[int, int]]:
    """Address and value of each word where a frame can start: the kernel puts it 8 bytes below a multiple of 16."""
    at, end = stack_pointer & ~7, stack_pointer + SEARCH_BYTES
    while at < end:
        # Page by page, because the stack can end at the next one.
        block = memory.read(at, PAGE_BYTES - at % PAGE_BYTES)
        if block is None:
            return
        words = ((at + index * 8, word) for index, (word,) in enumerate(struct.iter_unpack("<Q", block)))
        yield from ((address, word) for address, word in words if address % 16 == 8)
        at += len(block)


def _parse(memory: _Memory, address: int, restorer: int, thread_id: int, signal: int | None) -> FaultFrame | None:
    raw = memory.read(address + _CONTEXT_AT, _CONTEXT.size)
    if raw is None:
        return None
    values = _CONTEXT.unpack(raw)
    code_segment, stack_segment = values[18], values[21]
    trapno, cr2, fpstate = values[23], values[25], values[26]
    # A stale frame, overwritten in part, rarely passes these: user segments, and the FPU state right above.
    if code_segment != _USER_CS or stack_segment not in (_USER_SS, 0) or not 0 <= fpstate - address < _FPSTATE_NEAR:
        return None
    told, code = _siginfo(memory, address, signal)
    number = int(signal or told or _TRAP_SIGNALS.get(trapno, signals.SIGSEGV))
    registers = dict(zip(_REGISTERS, values[:18], strict=True))
    if code is None and number == signals.SIGFPE and memory.is_division(registers["rip"]):
        code = FPE_INTDIV
    return FaultFrame(
        signal=number,
        thread_id=thread_id,
        code=code,
        # The kernel sets cr2 for page faults only, and it stays from the last one when a signal is sent.
        address=cr2 if trapno == PAGE_FAULT and number in (signals.SIGSEGV, signals.SIGBUS) else None,
        trapno=trapno,
        registers=registers,
        restorer=restorer,
    )


def _siginfo(memory: _Memory, address: int, signal: int | None) -> tuple[int | None, int | None]:
    """(signal, code) where the handler asked for siginfo; otherwise the kernel leaves what lay there."""
    raw = memory.read(address + _SIGINFO_AT, _SIGINFO.size)
    number, errno, code = _SIGINFO.unpack(raw) if raw else (0, 0, 0)
    if number in (_FATAL if signal is None else (signal,)) and errno == 0 and -60 <= code <= 0x80:
        return number, code
    return None, None


def _written_inode(folder: ProcFolder, thread_id: int) -> int | None:
    """The inode of the socket that the thread is blocked writing to."""
    try:
        words = folder.small(f"task/{thread_id}/syscall").split()
        if len(words) < 9 or int(words[0]) not in WRITES:
            return None
        target = folder.link(f"fd/{int(words[1], 16)}")
    except (OSError, ValueError):
        return None
    return int(target[8:-1]) if target.startswith("socket:[") else None


def _seqpacket_inodes(folder: ProcFolder) -> set[int]:
    """The SOCK_SEQPACKET sockets of the process's network namespace; unix(7): type is field 4, inode field 6."""
    rows = (line.split() for line in folder.text("net/unix").splitlines()[1:])
    return {int(row[6]) for row in rows if len(row) > 6 and row[4] == SEQPACKET}
