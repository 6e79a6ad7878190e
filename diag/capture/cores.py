"""A core file as evidence: what it says itself, its stacks, and whether the files on this machine are those it ran."""

from __future__ import annotations

import os
import signal as signals
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from diag.collectors import core_file, core_stacks
from diag.collectors.core_file import Core, SignalInfo
from diag.config import Settings
from diag.errors import UsageError
from diag.evidence import Ended, Evidence, Fault, ProcessFacts
from diag.model import Cost, Instance, Missing, new_capture_id, now, stamp
from diag.report.elf import build_id

_PAGE_FAULT, _PROTECTION_FAULT, _ALIGNMENT, _SIMD_ERROR = 14, 13, 17, 19  # arch/x86/include/asm/trapnr.h
_SI_KERNEL = 0x80
_BUS_ADRALN = 1
# What the kernel says why (sigaction(2)), as the processor's trap; the first of SIGFPE's codes are integer errors.
_INTEGER_ERRORS = (1, 2)
_IN_PROC = ("header", "header.commandLine", "resourceUsage", "environmentVariables", "sharedObjects")


def evidence_of(path: Path, executable: Path | None, settings: Settings, *, with_locals: bool = False) -> Evidence:
    """What a core file tells. `executable` is the program that died, where that is not in its place any more.

    Raises NotACore, UsageError.
    """
    began, cpu = time.monotonic(), sum(os.times()[:4])
    if executable is not None and not executable.is_file():
        raise UsageError(f"{executable} is no file.", "Name the program that died with --exe, or leave it out.")
    core = core_file.read(path)
    runtime = core_stacks.runtime_of(core)  # by the names that its files had
    core, program, missing = _matched(core, executable)
    stacks = core_stacks.read(core, program, python=runtime.startswith("python"), with_locals=with_locals)
    moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Evidence(
        capture_id=new_capture_id(),
        time=moment,
        instance=_instance(core, settings, runtime),
        trigger="signal" if core.signal or not core.threads else "api",
        level=None if core.threads and not core.signal else "NATIVE" if core.threads else "OUTSIDE",
        process=_facts(core, moment),
        threads=stacks.threads,
        fault=fault_of(core),
        ended=_ended(core) if core.signal or not core.threads else None,
        incomplete=(*core.missing, *missing, *stacks.missing, *_never_there()),
        cost=Cost(0.0, sum(os.times()[:4]) - cpu, time.monotonic() - began),
    )


def with_process(evidence: Evidence, facts: ProcessFacts, missing: tuple[Missing, ...]) -> Evidence:
    """The same, with what /proc says of the process while the kernel waits with it for whoever takes its core."""
    names = {task.thread_id: task.name for task in facts.tasks}
    moment = now()
    gaps = [gap for gap in evidence.incomplete if gap.section not in (*_IN_PROC, *(gap.section for gap in missing))]
    return replace(
        evidence,
        time=moment,
        capture_id=new_capture_id(moment),
        instance=replace(
            evidence.instance,
            name=facts.name,
            service=evidence.instance.service if evidence.instance.service != evidence.instance.name else facts.name,
            pid=facts.pid,
            instance_id=f"{evidence.instance.host}/{facts.pid}",
            start_time=stamp(facts.start_time),
        ),
        process=replace(facts, maps=facts.maps or (evidence.process.maps if evidence.process else ())),
        threads=tuple(replace(thread, name=names.get(thread.thread_id)) for thread in evidence.threads),
        incomplete=(*gaps, *missing),
    )


def kind_of(evidence: Evidence) -> str:
    """The kind of capture: a copy of a living process (gcore) is no crash."""
    return "report" if evidence.trigger == "api" else "crash"


def _matched(core: Core, executable: Path | None) -> tuple[Core, str | None, tuple[Missing, ...]]:
    """The core with the paths that hold, the program's file, and what does not hold.

    A mapped file that is another one now is marked as the kernel marks it, so that nothing takes names from it.
    """
    missing = []
    program = core.executable
    if executable is not None:
        wanted, there = core.build_ids.get(program or ""), build_id(str(executable.absolute()))
        if wanted and wanted != there:
            reason = f"{executable} is not what the core is of (build id {there}, and not {wanted}): it was not used"
            missing.append(Missing("executable", reason))
        else:
            core = _renamed(core, {program: str(executable.absolute())} if program else {})
            return core, str(executable.absolute()), _foreign(core)[1]
    foreign, found = _foreign(core)
    missing += found
    usable = program is not None and program not in foreign and Path(program).is_file()
    if program is not None and program not in foreign and not usable:
        missing.append(Missing("executable", f"{program} is not on this machine; name a copy of it with --exe"))
    core = _renamed(core, {path: f"{path} (deleted)" for path in foreign})
    return core, program if usable else None, tuple(missing)


def _foreign(core: Core) -> tuple[list[str], tuple[Missing, ...]]:
    """The mapped files that are other ones on this machine, by their build ids, and what to say of them."""
    foreign = []
    for path, wanted in core.build_ids.items():
        if Path(path).is_file() and build_id(path) != wanted:
            foreign.append(path)
    if not foreign:
        return [], ()
    named = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
    reason = f"not the files that the process had mapped, by their build ids, so no names are taken from them: {named}"
    return foreign, (Missing("modules", reason),)


def _renamed(core: Core, names: dict[str, str]) -> Core:
    maps = tuple(replace(mapped, path=names.get(mapped.path, mapped.path)) for mapped in core.maps)
    executable = names.get(core.executable, core.executable) if core.executable else None
    return replace(core, maps=maps, executable=executable)


def _instance(core: Core, settings: Settings, runtime: str) -> Instance:
    name = core.name or "unknown"
    host = os.uname().nodename
    return Instance(
        service=settings.service or name,
        name=name,
        instance_id=f"{host}/{core.pid}/core",
        host=host,
        pid=core.pid,
        start_time="",
        runtime=runtime,
    )


def _facts(core: Core, moment: datetime) -> ProcessFacts:
    return ProcessFacts(
        pid=core.pid,
        parent_pid=core.parent_pid,
        start_time=moment,
        command=core.command,
        name=core.name,
        executable=core.executable,
        uid=core.uid,
        memory={"virtual": sum(m.end - m.start for m in core.maps)} if core.maps else {},
        cpu_user_s=sum(thread.user_s for thread in core.threads) if core.threads else None,
        cpu_system_s=sum(thread.system_s for thread in core.threads) if core.threads else None,
        environment=core.environment,
        maps=core.maps,
    )


def fault_of(core: Core) -> Fault | None:
    """The fault as the kernel's signal frame would have told it; None where no signal ended the process."""
    if not core.signal:
        return None
    first, told = core.threads[0], core.siginfo
    if told is None or told.signal != core.signal:
        return Fault(core.signal, first.thread_id, registers=first.registers)
    trap = _trap(told)
    address = told.address if trap == _PAGE_FAULT else None
    return Fault(core.signal, first.thread_id, told.code, address, trap, first.registers)


def _trap(told: SignalInfo) -> int | None:
    """The number of the processor's trap that the signal came from, x86-64; 0 where a program sent it."""
    if told.code <= 0:
        return 0
    if told.signal == signals.SIGSEGV:
        return _PROTECTION_FAULT if told.code == _SI_KERNEL else _PAGE_FAULT
    if told.signal == signals.SIGBUS:
        return _ALIGNMENT if told.code == _BUS_ADRALN else _PAGE_FAULT
    if told.signal == signals.SIGFPE:
        return 0 if told.code in _INTEGER_ERRORS else _SIMD_ERROR
    return 6 if told.signal == signals.SIGILL else None


def _ended(core: Core) -> Ended:
    if not core.threads:
        return Ended(core_dumped=True, evidence=("there is a core file, which the kernel writes at a fatal signal",))
    name = signals.Signals(core.signal).name if core.signal in signals.valid_signals() else f"signal {core.signal}"
    evidence = [f"the core file: ended by {name}"]
    told = core.siginfo
    if told is not None and told.sender and told.code <= 0 and told.sender != core.pid:
        evidence.append(f"the core file: pid {told.sender} of uid {told.uid} sent it")
    return Ended(signal=core.signal, core_dumped=True, evidence=tuple(evidence))


def _never_there() -> Iterator[Missing]:
    """What no core file has."""
    yield Missing("header", "a core does not say when and where the process ran: the time is the file's, the host ours")
    yield Missing("resourceUsage", "of its resources a core has the CPU time and the size of its address space only")
    yield Missing("recent", "a core has no black box: requests and events are not known")
