"""What addresses of a dead process mean: what a register points to, what lies near a fault."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

from diag.evidence import Mapped
from diag.report.values import hex_address

FIRST_PAGES = 0x10000  # vm.mmap_min_addr: nothing is mapped below, so only a NULL pointer leads here
_USER_END = 1 << 47  # Documentation/arch/x86/x86_64/mm.rst: what lies above is the kernel's, or no address at all
_NO_POINTERS = ("eflags",)
_NEAR = 1 << 20
_ORDER = "rip rsp rbp rax rbx rcx rdx rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 eflags".split()  # noqa: SIM905


def in_order(registers: Mapping[str, int]) -> list[str]:
    """The names of the registers, as a reader looks for them."""
    return [*(name for name in _ORDER if name in registers), *(name for name in registers if name not in _ORDER)]


def pointed(registers: Mapping[str, int], maps: Sequence[Mapped]) -> dict[str, str]:
    """What each register points to, where it can be a pointer: `libc.so.6+0x167ad8`, `stack`, `heap`, `NULL`, …"""
    own_stack = mapping_of(registers.get("rsp", 0), maps)
    found = {}
    for name, value in registers.items():
        words = "" if name in _NO_POINTERS else _pointed(value, own_stack, maps)
        if words:
            found[name] = words
    return found


def _pointed(value: int, own_stack: Mapped | None, maps: Sequence[Mapped]) -> str:
    if value == 0:
        return "NULL"
    mapped = mapping_of(value, maps)
    if mapped is None:
        return "unmapped" if FIRST_PAGES <= value < _USER_END else ""
    if mapped.path.startswith("/"):
        base = min(one.start for one in maps if one.path == mapped.path)
        return f"{mapped.path.rpartition('/')[2]}+{value - base:#x}"
    return "stack" if mapped is own_stack else _named(mapped)


def mapping_of(address: int, maps: Sequence[Mapped]) -> Mapped | None:
    """The mapping that this address is in; they are in the order of their addresses, here and below."""
    at = bisect_right(maps, address, key=lambda mapped: mapped.start) - 1
    return maps[at] if at >= 0 and address < maps[at].end else None


def near(address: int, maps: Sequence[Mapped]) -> str:
    """Where a fault address lies, in words: the first pages, inside of something, or just outside of it."""
    if address < FIRST_PAGES:
        return "the first 64 KiB, where nothing is ever mapped: a NULL pointer" + (
            f" plus {address:,}" if address else ""
        )
    if address >= _USER_END:
        return "no address that a program can have"
    mapped = mapping_of(address, maps)
    if mapped is not None and mapped.permissions.startswith("---"):
        return f"a guard page: memory that nobody may use, {_beside(address, maps) or 'away from everything else'}"
    if mapped is not None:
        return f"{address - mapped.start:,} bytes into {mapped.permissions} {_named(mapped)}"
    beside = _beside(address, maps)
    return f"unmapped: {beside}" if beside else "unmapped, far from everything: a wild pointer, or memory given back"


def _beside(address: int, maps: Sequence[Mapped]) -> str:
    used = [one for one in maps if not one.permissions.startswith("---")]
    at = bisect_right(used, address, key=lambda mapped: mapped.start)
    after, before = used[at : at + 1], used[max(0, at - 1) : at]
    words = [
        *((one.start - address, f"below {one.permissions} {_named(one)}") for one in after),
        *((address - one.end + 1, f"beyond the end of {one.permissions} {_named(one)}") for one in before),
    ]
    distance, what = min(words, default=(_NEAR, ""))
    return f"{distance:,} bytes {what}" if distance < _NEAR else ""


def around(addresses: Mapping[str, int], maps: Sequence[Mapped]) -> Iterator[dict[str, str]]:
    """The mappings that hold these addresses, and those beside; `holds` names the addresses in each."""
    wanted: set[int] = set()
    for address in addresses.values():
        at = bisect_right(maps, address, key=lambda mapped: mapped.start)
        wanted |= {index for index in (at - 1, at) if 0 <= index < len(maps)}
    for index in sorted(wanted):
        one = maps[index]
        yield {
            "start": hex_address(one.start),
            "end": hex_address(one.end),
            "permissions": one.permissions,
            "path": one.path or "anonymous memory",
            "holds": ", ".join(name for name, address in addresses.items() if one.start <= address < one.end),
        }


def _named(mapped: Mapped) -> str:
    known = {"[stack]": "stack", "[heap]": "heap", "": "anonymous memory"}
    return known.get(mapped.path, mapped.path)
