"""Verdicts on fatal signals: what the processor objected to, or who sent the signal (x86-64 trap numbers)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from diag.report.addresses import FIRST_PAGES
from diag.report.causes.shape import HIGH, LOW, MEDIUM, Cause, Confidence, verdict
from diag.report.ending import DIVIDE_ERROR, INVALID_OPCODE, PAGE_FAULT, PROTECTION_FAULT, is_division, needs_alignment
from diag.report.reading import (
    ABORTING,
    Json,
    app_frame,
    bare_name,
    crashed_thread,
    is_unnamed,
    native_frame,
    place,
    serving,
    summary,
)

_HLT = b"\xf4"
_NO_ADDRESS = range(1 << 47, (1 << 64) - (1 << 47))  # Documentation/arch/x86/x86_64/mm.rst: the non-canonical hole
_NEAR_STACK = 0x10000
_SENDING = frozenset(["kill", "tgkill", "raise", "gsignal", "pthread_kill", "killpg"])
_ABORTING = ABORTING - _SENDING
# By the names that libc exports, and by those of its own that debug files tell.
_ALLOCATOR = re.compile(
    r"(?:__libc_)?(?:c?free|[cm]alloc|realloc)|(?:posix_)?memalign|aligned_alloc"
    r"|_int_\w+|malloc_(?:printerr|consolidate)|(?:unlink|munmap)_chunk|sysmalloc"
)
_X87_ERROR, _ALIGNMENT, _SIMD_ERROR = 16, 17, 19
# glibc's, libstdc++'s and Rust's last words, as they stand in their sources (malloc.c, assert.c, fortify_fail.c,
# vterminate.cc, pure.cc, panicking.rs), what they mean, and a function that is on the stack then: the text alone may be
# another process's, where processes share stderr.
_LAST_WORDS: tuple[tuple[Cause, str, str, str], ...] = (
    (
        "heap-corruption",
        r".*(?:double free or corruption|corrupted (?:size|double-linked)|(?:free|malloc|realloc|munmap_chunk)\(\): )",
        "its heap was corrupted",
        r"c?free|\w*alloc|malloc_\w+|_int_\w+|operator (?:new|delete).*",
    ),
    ("stack-smashing", r".*stack smashing detected", "it wrote beyond a buffer on its stack", r"__stack_chk_fail"),
    (
        "abort",
        r"pure virtual method called",
        "a pure virtual function was called, of an object that is not whole yet or is gone",
        r"__cxa_pure_virtual",
    ),
    (
        "abort",
        r"terminate called without an active exception",
        "std::terminate was called without an exception, as where a std::thread is neither joined nor detached",
        r"std::terminate",
    ),
    ("abort", r".*buffer overflow detected", "it wrote beyond a buffer", r"__chk_fail|__\w+_chk|__fortify_fail"),
    ("panic", r"thread '.*' panicked at ", "Rust code panicked", r".*\bpanicking::.*|_*rust_(?:start_)?panic.*"),
    ("cpp-exception", r"terminate called ", "a C++ exception was not caught", r"std::terminate|__cxa_\w+"),
    ("assertion", r".*Assertion `.*' failed", "an assertion in C failed", r"__assert_fail\w*"),
    ("python-fatal", r"Fatal Python error: (?!Aborted)", "the interpreter gave up", r"_?Py_Fatal\w*|fatal_error\w*"),
)


def judge(report: Json) -> dict[str, Any]:
    """The verdict on a report whose `signal` is one of RULES."""
    found = RULES[report["signal"]["name"]](report, report["signal"])
    if exception := report["exception"]:
        frame = app_frame(exception["frames"])
        where = f" in {place(frame)}" if frame else ""
        found["evidence"].append(f"Before that an exception had ended the main thread: {summary(exception)}{where}.")
    return found


def _segfault(report: Json, signal: Json) -> dict[str, Any]:
    trap, address = signal["trapNumber"], _number(signal["faultAddress"])
    if trap is None:
        return _unread(report, signal)
    if signal["sent"]:
        return _sent(report, signal)
    if trap == PAGE_FAULT and address is not None:
        return _page_fault(report, signal, address)
    if trap == PROTECTION_FAULT:
        return _protection_fault(report, signal)
    evidence = [f"Trap {trap} was the processor's."]
    return verdict("fault", f"Memory fault{_where(report)}{serving(report)}.", MEDIUM, evidence)


def _protection_fault(report: Json, signal: Json) -> dict[str, Any]:
    """An address that no memory can have is the usual reason; the instruction may tell another one."""
    evidence = [f"Trap {PROTECTION_FAULT} (general protection fault) was the processor's."]
    code = bytes.fromhex(signal.get("instruction", ""))
    if code.startswith(_HLT):
        evidence.append("The instruction is HLT, which is the kernel's alone.")
        return verdict(
            "illegal-instruction", f"Privileged instruction{_where(report)}{serving(report)}.", HIGH, evidence
        )
    values = [int(value, 16) for value in signal["registers"].values()]
    if needs_alignment(code) and not any(value in _NO_ADDRESS for value in values):
        evidence.append("The instruction moves aligned data only, and each register could be an address.")
        sentence = f"Misaligned access{_where(report)}: not at a multiple of 16{serving(report)}."
        return verdict("misaligned", sentence, MEDIUM, evidence)
    sentence = f"Wild pointer{_where(report)}: an address that no memory can have{serving(report)}."
    return verdict("wild-pointer", sentence, MEDIUM, evidence)


def _page_fault(report: Json, signal: Json, address: int) -> dict[str, Any]:
    registers = {name: int(value, 16) for name, value in signal["registers"].items()}
    evidence = [f"Page fault (trap 14) at address {address:#x}."]
    if registers.get("rip") == address and address < FIRST_PAGES:
        sentence = f"Call of a NULL function pointer{_where(report)}{serving(report)}."
        return verdict("null-call", sentence, HIGH, [*evidence, "The instruction pointer is the fault address."])
    if address < FIRST_PAGES:
        sentence = f"NULL pointer dereference{_where(report)}{serving(report)}."
        return verdict("null-dereference", sentence, HIGH, [*evidence, "Nothing is mapped below 64 KiB."])
    mapping = signal.get("faultMapping")
    if mapping:
        evidence.append(f"The fault address is in: {mapping}.")
    if _below_stack(registers, address, mapping):
        evidence.append("The fault address is next to the stack pointer, outside of what the stack may use.")
        sentence = f"Stack overflow{_where(report)}{serving(report)}."
        return verdict("stack-overflow", sentence, MEDIUM, evidence)
    kind = "unmapped memory" if mapping == "unmapped" else "memory that it may not use so"
    what = kind if mapping else "an address outside its memory"
    sentence = f"Wild pointer{_where(report)}: access to {what} at {address:#x}{serving(report)}."
    return verdict("wild-pointer", sentence, HIGH if mapping else MEDIUM, evidence)


def _below_stack(registers: dict[str, int], address: int, mapping: str | None) -> bool:
    pointer = registers.get("rsp")
    if pointer is None or abs(address - pointer) > _NEAR_STACK:
        return False
    return mapping is None or mapping == "unmapped" or mapping.startswith("---")


def _bus_error(report: Json, signal: Json) -> dict[str, Any]:
    if signal["trapNumber"] is None:
        return _unread(report, signal)
    if signal["sent"]:
        return _sent(report, signal)
    evidence = [f"Trap {signal['trapNumber']} was the processor's."]
    if signal["trapNumber"] == _ALIGNMENT:
        return verdict("misaligned", f"Misaligned access{_where(report)}{serving(report)}.", HIGH, evidence)
    mapping = signal.get("faultMapping") or ""
    if signal["trapNumber"] == PAGE_FAULT and " /" in mapping:
        evidence.append(f"The fault address is in: {mapping}.")
        sentence = f"Access beyond the end of a mapped file{_where(report)}{serving(report)}; was the file truncated?"
        return verdict("mapped-file-truncated", sentence, MEDIUM, evidence)
    return verdict("bus-error", f"Bus error{_where(report)}{serving(report)}.", MEDIUM, evidence)


def _arithmetic(report: Json, signal: Json) -> dict[str, Any]:
    trap = signal["trapNumber"]
    if trap is None:
        return _unread(report, signal)
    if trap in (_X87_ERROR, _SIMD_ERROR):
        sentence = f"Floating-point exception{_where(report)}{serving(report)}."
        return verdict("floating-point", sentence, HIGH, [f"Trap {trap} is a floating-point error."])
    if trap != DIVIDE_ERROR:
        return verdict("fault", f"Arithmetic fault{_where(report)}{serving(report)}.", LOW, [f"Trap {trap}."])
    code = bytes.fromhex(signal.get("instruction", ""))
    if code and not is_division(code):
        return _sent(report, signal, MEDIUM, "The instruction it stood at is no division.")
    sentence = f"Integer division by zero or overflow{_where(report)}{serving(report)}."
    if code:
        return verdict("divide-error", sentence, HIGH, ["It stood at a DIV or IDIV instruction, with trap 0."])
    doubt = "Trap 0 is a division error, but a signal sent with kill looks the same; the instruction could not be read."
    sentence = f"Integer division by zero or overflow, or a SIGFPE sent with kill{_where(report)}{serving(report)}."
    return verdict("divide-error", sentence, LOW, [doubt])


def _illegal(report: Json, signal: Json) -> dict[str, Any]:
    if signal["trapNumber"] is None:
        return _unread(report, signal)
    if signal["sent"]:
        return _sent(report, signal)
    evidence = [f"Trap {signal['trapNumber']}{' (invalid opcode)' if signal['trapNumber'] == INVALID_OPCODE else ''}."]
    if signal.get("instruction", "").startswith("0f0b"):
        evidence.append("The instruction is UD2, which compilers place where code must never come.")
        sentence = f"Deliberate trap (UD2){_where(report)}{serving(report)}."
        return verdict("trap-instruction", sentence, HIGH, evidence)
    return verdict("illegal-instruction", f"Illegal instruction{_where(report)}{serving(report)}.", HIGH, evidence)


def _abort(report: Json, signal: Json) -> dict[str, Any]:
    if _aborts(report) is False:
        return _sent(report, signal, MEDIUM, "No frame of the crashing thread belongs to abort().")
    for cause, words, meaning, function in _LAST_WORDS:
        said = re.findall(f"^{words}.*$", report["stderrTail"], re.MULTILINE)
        if said:
            seen = any(re.fullmatch(function, bare_name(frame["function"])) for frame in _frames(report))
            sentence = f"It aborted because {meaning} ({said[-1].strip()}){_where(report)}{serving(report)}."
            evidence = [f"On stderr stands: {said[-1].strip()}"]
            return verdict(cause, sentence, HIGH if seen else MEDIUM, evidence)
    native = native_frame(_frames(report))
    if _aborts(report) and native is not None and _ALLOCATOR.fullmatch(bare_name(native["function"])):
        evidence = [f"The crashing thread stands in abort(), called by libc's {native['function']}."]
        sentence = f"It aborted because its heap was corrupted{_where(report)}{serving(report)}."
        return verdict("heap-corruption", sentence, MEDIUM, evidence)
    if _aborts(report):
        evidence = ["The crashing thread stands in abort()."]
        return verdict("abort", f"It called abort(){_where(report)}{serving(report)}.", HIGH, evidence)
    doubt = "No native stack was read, and SIGABRT is always sent: by abort() or by another process."
    return verdict("abort", f"It ended with SIGABRT{_where(report)}{serving(report)}.", LOW, [doubt])


def _aborts(report: Json) -> bool | None:
    """Whether the crashing thread is inside abort(); None where its native frames were not read."""
    thread = crashed_thread(report)
    native = [f for f in thread["frames"] if f["language"] == "native"] if thread and thread["crashed"] else []
    if not native:
        return None
    if any(bare_name(frame["function"]) in _ABORTING for frame in native):
        return True
    return None if all(is_unnamed(frame) for frame in native) else False


def _sent(
    report: Json, signal: Json, confidence: Confidence = HIGH, because: str = "The processor raised no trap (0)."
) -> dict[str, Any]:
    evidence = [because]
    if signal["name"] == "SIGABRT" and any("gunicorn" in word for word in report["header"]["commandLine"]):
        evidence.append("gunicorn's master sends SIGABRT to a worker that is silent for longer than --timeout.")
    frames = _frames(report)
    frame = app_frame(frames)
    during = f"; it stood in {place(frame)}" if frame else ""
    itself = any(bare_name(f["function"]) in _SENDING for f in frames[:8] if f["language"] == "native")
    how = f"It sent itself {signal['name']}" if itself else f"It was sent {signal['name']} by a process (kill)"
    sentence = f"{how}, it did not fault{during}{serving(report)}."
    return verdict("sent-signal", sentence, confidence, evidence)


def _unread(report: Json, signal: Json) -> dict[str, Any]:
    doubt = "The kernel's signal frame was not read, so a fault cannot be told from a signal that was sent."
    sentence = f"It ended with {signal['name']}{_where(report)}{serving(report)}."
    return verdict("signal", sentence, LOW if report["threads"] else MEDIUM, [doubt])


def _where(report: Json) -> str:
    """` in strlen (libc.so.6), called from view (app.py:20)`, as much of it as is known."""
    frames = _frames(report)
    native = native_frame(frames)
    if native is not None and native["function"].startswith("0x"):
        native = None  # nothing is mapped there
    python = app_frame([frame for frame in frames if frame["language"] != "native"])
    if native is None:
        top = python or app_frame(frames)
        return f" in {place(top)}" if top is not None else ""
    return f" in {place(native)}" + (f", called from {place(python)}" if python is not None else "")


def _frames(report: Json) -> list[Any]:
    thread = crashed_thread(report)
    return list(thread["frames"]) if thread and thread["crashed"] else []


def _number(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


RULES: dict[str, Callable[[Json, Json], dict[str, Any]]] = {
    "SIGSEGV": _segfault,
    "SIGBUS": _bus_error,
    "SIGFPE": _arithmetic,
    "SIGILL": _illegal,
    "SIGABRT": _abort,
}
