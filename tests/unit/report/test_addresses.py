"""What addresses of a dead process mean."""

from __future__ import annotations

import pytest
from unit.report.factory import LIBC, crashed, made, native, process, stack

from diag.evidence import Mapped
from diag.report.addresses import near, pointed

GUARD = Mapped(0x7F1000000000, 0x7F1000001000, "---p", 0, 0, "")
THREAD = Mapped(0x7F1000001000, 0x7F1000800000, "rw-p", 0, 0, "")
MAPS = (
    Mapped(0x555500000000, 0x555500010000, "r-xp", 0, 7, "/srv/shop/bin/python3"),
    Mapped(0x555500020000, 0x555500040000, "rw-p", 0, 0, "[heap]"),
    Mapped(0x7F0000000000, 0x7F0000001000, "r--p", 0, 8, LIBC),
    Mapped(0x7F0000001000, 0x7F0000010000, "r-xp", 4096, 8, LIBC),
    GUARD,
    THREAD,
    Mapped(0x7FFC00000000, 0x7FFC00021000, "rw-p", 0, 0, "[stack]"),
)


def test_a_register_says_what_it_points_to() -> None:
    """File and offset, the stack of the crashing thread, heap, NULL; numbers that are no pointers say nothing."""
    registers = {
        "rip": 0x7F0000001010,
        "rsp": 0x7F1000700000,
        "rax": 0,
        "rbx": 0x555500020010,
        "rcx": 0x7FFC00000010,
        "rdx": 42,
        "rsi": 0x7E0000000000,
        "rdi": 0xFFFFFFFFFFFFFFFF,
        "eflags": 0x555500020010,
    }
    assert pointed(registers, MAPS) == {
        "rip": "libc.so.6+0x1010",
        "rsp": "stack",
        "rax": "NULL",
        "rbx": "heap",
        "rcx": "stack",
        "rsi": "unmapped",
    }


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (0, "a NULL pointer"),
        (24, "a NULL pointer plus 24"),
        (0x7F1000000FF8, "a guard page: memory that nobody may use, 8 bytes below rw-p anonymous memory"),
        (0x555500040000, "unmapped: 1 bytes beyond the end of rw-p heap"),
        (0x555500020010, "16 bytes into rw-p heap"),
        (0x6000_0000_0000, "a wild pointer, or memory given back"),
        (0xFFFF_8000_0000_0000, "no address that a program can have"),
    ],
)
def test_an_address_is_placed(address: int, words: str) -> None:
    """Where a fault address lies, in words that tell the cause."""
    assert words in near(address, MAPS)


def test_the_report_has_what_lies_around() -> None:
    """The mappings of instruction, stack and fault address, and their neighbours; the schema is kept."""
    seen = crashed(
        11,
        (native("f"), *stack()),
        address=0x7F1000000FF8,
        trapno=14,
        registers={"rsp": 0x7F1000001008, "rip": 0x7F0000001010, "r8": 1},
        process=process(maps=MAPS[::-1]),
    )
    signal = made(seen)["signal"]
    assert list(signal["registers"]) == ["rip", "rsp", "r8"]
    assert signal["pointsTo"] == {"rip": "libc.so.6+0x1010", "rsp": "stack"}
    assert {row["holds"] for row in signal["mappings"]} == {"rip", "rsp", "the fault address", ""}
    assert [row["start"] for row in signal["mappings"]] == sorted(row["start"] for row in signal["mappings"])
