"""How the process ended: the report's `exit` and `signal`."""

from __future__ import annotations

import signal as signals
from typing import Any

from diag.evidence import Evidence, Fault, Mapped
from diag.report.addresses import around, in_order, mapping_of, near, pointed
from diag.report.elf import Symbolizer
from diag.report.values import Scrub, hex_address, signal_name

PAGE_FAULT = 14  # arch/x86/include/asm/trapnr.h, as all trap numbers
DIVIDE_ERROR, INVALID_OPCODE, PROTECTION_FAULT = 0, 6, 13
_FAULT_SIGNALS = (signals.SIGSEGV, signals.SIGBUS, signals.SIGFPE, signals.SIGILL)
_ALWAYS_SENT = (signals.SIGKILL, signals.SIGTERM, signals.SIGINT, signals.SIGHUP, signals.SIGQUIT, signals.SIGSTOP)


def exit_json(evidence: Evidence, scrub: Scrub) -> dict[str, Any]:
    """`exit`: `{status, signal, asked, reason, evidence, coreDumped, leftCleanly, call, sender, message}`."""
    ended = evidence.ended
    number = _signal_number(evidence)
    return {
        "status": ended.status if ended else None,
        "signal": signal_name(number) if number else None,
        "asked": signal_name(ended.asked) if ended and ended.asked else None,
        "reason": _reason(evidence, number),
        "evidence": [scrub.text(sentence, 1024) for sentence in ended.evidence] if ended else [],
        "coreDumped": bool(ended and ended.core_dumped),
        "leftCleanly": evidence.witness.left_cleanly if evidence.witness else None,
        "call": ended.call if ended else None,
        "sender": scrub.text(ended.sender, 1024) or None if ended else None,
        "message": scrub.text(ended.message, 4096) if ended else "",
    }


def _signal_number(evidence: Evidence) -> int | None:
    if evidence.ended is not None:
        return evidence.ended.signal
    return evidence.fault.signal if evidence.fault else None


def _reason(evidence: Evidence, number: int | None) -> str:
    if number is not None:
        return f"killed by {signal_name(number)}"
    ended = evidence.ended
    status = ended.status if ended else None
    if evidence.exception is not None and evidence.level != "EVENT":
        return "uncaught exception"
    if status is not None:
        return f"exit status {status}"
    if ended is not None:
        return "ended, status unknown"
    return "alive"


def signal_json(evidence: Evidence, scrub: Scrub) -> dict[str, Any] | None:
    """`signal`, with the registers at the fault where the kernel's frame was read; None where there was no signal."""
    fault = evidence.fault
    if fault is not None:
        return _fault_json(fault, evidence, scrub)
    number = evidence.ended.signal if evidence.ended else None
    if number is None:
        return None
    return _shape(number, sent=True if number in _ALWAYS_SENT else None)


def _fault_json(fault: Fault, evidence: Evidence, scrub: Scrub) -> dict[str, Any]:
    code = _instruction(fault, evidence)
    shown = _shape(fault.signal, sent=_sent(fault, code))
    # cr2 keeps the address of the last page fault, so it means nothing to any other trap.
    address = fault.address if fault.trapno == PAGE_FAULT else None
    shown |= {
        "code": fault.code,
        "faultAddress": hex_address(address) if address is not None else None,
        "trapNumber": fault.trapno,
        "registers": {scrub.text(name, 32): hex_address(fault.registers[name]) for name in in_order(fault.registers)},
        "threadId": fault.thread_id,
    }
    if code:
        shown["instruction"] = code.hex()
    maps = evidence.process.maps if evidence.process else ()
    if maps:
        in_turn = tuple(sorted(maps, key=lambda mapped: mapped.start))
        shown |= _places(fault, address, in_turn, scrub)
    return shown


def _places(fault: Fault, address: int | None, maps: tuple[Mapped, ...], scrub: Scrub) -> dict[str, Any]:
    """What the registers point to, and what lies where it faulted."""
    looked_at = {name: fault.registers[name] for name in ("rip", "rsp") if name in fault.registers}
    found: dict[str, Any] = {}
    if address is not None:
        looked_at["the fault address"] = address
        found["faultMapping"] = scrub.text(_describe(address, maps), 1024)
        found["faultNear"] = scrub.text(near(address, maps), 1024)
    if fault.registers:
        found["pointsTo"] = {scrub.text(k, 32): scrub.text(v, 512) for k, v in pointed(fault.registers, maps).items()}
        rows = around(looked_at, maps)
        found["mappings"] = [{key: scrub.text(value, 1024) for key, value in row.items()} for row in rows]
    return found


def _shape(number: int, sent: bool | None) -> dict[str, Any]:
    return {
        "number": number,
        "name": signal_name(number),
        "code": None,
        "faultAddress": None,
        "trapNumber": None,
        "registers": {},
        "threadId": None,
        "sent": sent,
    }


def _sent(fault: Fault, code: bytes) -> bool | None:
    """Whether a program sent the signal (kill, abort), as against the processor raising it; None: cannot be known."""
    if fault.trapno is None or fault.signal not in _FAULT_SIGNALS:
        return True if fault.signal in (signals.SIGABRT, *_ALWAYS_SENT) else None
    if fault.trapno != DIVIDE_ERROR:
        return False
    if fault.signal != signals.SIGFPE:
        return True
    # Trap 0 is the division error itself, and also what the frame of a sent signal says: the instruction decides.
    return not is_division(code) if code else None


def _instruction(fault: Fault, evidence: Evidence) -> bytes:
    rip = fault.registers.get("rip")
    if rip is None or evidence.process is None:
        return b""
    return Symbolizer(evidence.process.maps, evidence.process.root).code(rip)


def is_division(code: bytes) -> bool:
    """Whether x86-64 code starts with DIV or IDIV: opcode F6 or F7 with 6 or 7 in ModRM.reg (Intel SDM, volume 2)."""
    at = 0
    while at < len(code) and (code[at] in b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3" or code[at] & 0xF0 == 0x40):
        at += 1
    return at + 1 < len(code) and code[at] in b"\xf6\xf7" and code[at + 1] >> 3 & 7 in (6, 7)


def needs_alignment(code: bytes) -> bool:
    """Whether x86-64 code starts with a move that faults where its address is no multiple of 16 (or 32, 64).

    MOVAPS, MOVAPD, MOVNTPS, MOVDQA and MOVNTDQ, and their VEX forms (Intel SDM, volume 2).
    """
    code = code.ljust(6, b"\0")  # two prefixes, and the longest of what follows
    wide = code[0] == 0x66
    code = code[wide:]
    if code[0] & 0xF0 == 0x40:  # REX
        code = code[1:]
    if code[0] == 0x0F:
        opcode = code[1]
    elif code[0] == 0xC5:
        wide, opcode = code[1] & 3 == 1, code[2]
    elif code[0] == 0xC4 and code[1] & 0x1F == 1:
        wide, opcode = code[2] & 3 == 1, code[3]
    else:
        return False
    return opcode in (0x28, 0x29, 0x2B) or (wide and opcode in (0x6F, 0x7F, 0xE7))


def _describe(address: int, maps: tuple[Mapped, ...]) -> str:
    mapped = mapping_of(address, maps)
    return f"{mapped.permissions} {mapped.path or 'anonymous memory'}" if mapped else "unmapped"
