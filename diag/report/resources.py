"""What the process used and was allowed: Node's `resourceUsage`, `userLimits`, `sharedObjects`, and the modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diag.evidence import Evidence, Mapped, ProcessFacts
from diag.report.elf import build_id
from diag.report.host import Host
from diag.report.values import Gaps, encodable, hex_address

# The kernel's names (proc(5), /proc/<pid>/limits) under Node's; sizes are bytes, the "blocks" too, as in Node.
LIMITS = {
    "core_file_size_blocks": "Max core file size",
    "data_seg_size_bytes": "Max data size",
    "file_size_blocks": "Max file size",
    "max_locked_memory_bytes": "Max locked memory",
    "max_memory_size_bytes": "Max resident set",
    "open_files": "Max open files",
    "stack_size_bytes": "Max stack size",
    "cpu_time_seconds": "Max cpu time",
    "max_user_processes": "Max processes",
    "virtual_memory_bytes": "Max address space",
}
_DISK_BLOCK = 512  # getrusage(2) counts what /proc/<pid>/io counts, in blocks of this size
_MODULES_KEPT = 1000
_LIMIT_KEYS = ("memory_limit_bytes", "memory_limit", "limit_bytes", "limit")


def resource_usage(evidence: Evidence, host: Host, gaps: Gaps) -> dict[str, Any]:
    """Node's `resourceUsage`: sizes in bytes, times in seconds, None where the kernel did not say."""
    process = evidence.process
    if process is None:
        gaps.add("resourceUsage", "the process was gone before it could be read")
        return {}
    limit = memory_limit(process.cgroup)
    rss = process.memory.get("rss")
    user, system = process.cpu_user_s, process.cpu_system_s
    # Node divides by whole seconds and by one at least, so that a young process shows no absurd share.
    age_s = (evidence.time - process.start_time).total_seconds() if evidence.instance.start_time else None
    uptime_s = None if age_s is None else max(1.0, age_s)
    return {
        "free_memory": host.free_memory,
        "total_memory": host.total_memory,
        "rss": rss,
        "constrained_memory": limit,
        "available_memory": host.free_memory if limit is None or rss is None else max(0, limit - rss),
        "userCpuSeconds": user,
        "kernelCpuSeconds": system,
        "cpuConsumptionPercent": _percent(None if user is None or system is None else user + system, uptime_s),
        "userCpuConsumptionPercent": _percent(user, uptime_s),
        "kernelCpuConsumptionPercent": _percent(system, uptime_s),
        "maxRss": process.memory.get("peak_rss"),
        "pageFaults": {"IORequired": process.page_faults_major, "IONotRequired": process.page_faults_minor},
        "fsActivity": {"reads": _blocks(process.read_bytes), "writes": _blocks(process.write_bytes)},
        "virtualMemory": process.memory.get("virtual"),
        "swap": process.memory.get("swap"),
        "openFiles": process.open_files,
        "contextSwitches": {
            "voluntary": process.context_switches_voluntary,
            "involuntary": process.context_switches_involuntary,
        },
        "uptimeSeconds": None if age_s is None else round(age_s, 3),
    }


def memory_limit(cgroup: Mapping[str, Any]) -> int | None:
    """The cgroup's memory limit in bytes, or None where there is none."""
    memory = cgroup.get("memory")
    for source in (cgroup, memory if isinstance(memory, Mapping) else {}):
        for key in _LIMIT_KEYS:
            value = source.get(key)
            # Version 1 says "no limit" with the largest page-aligned number (kernel: PAGE_COUNTER_MAX).
            if isinstance(value, int) and 0 < value < 1 << 62:
                return value
    return None


def _percent(cpu_s: float | None, uptime_s: float | None) -> float | None:
    return None if cpu_s is None or uptime_s is None else round(cpu_s / uptime_s * 100, 4)


def _blocks(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else size_bytes // _DISK_BLOCK


def user_limits(process: ProcessFacts | None, gaps: Gaps) -> dict[str, dict[str, int | str]]:
    """Node's `userLimits`: soft and hard, a number or "unlimited"."""
    limits = process.limits if process else {}
    if not limits:
        gaps.add("userLimits", "the limits could not be read")
    shown: dict[str, dict[str, int | str]] = {}
    for name, kernel_name in LIMITS.items():
        if kernel_name in limits:
            soft, hard = limits[kernel_name]
            shown[name] = {
                "soft": "unlimited" if soft is None else soft,
                "hard": "unlimited" if hard is None else hard,
            }
    return shown


def shared_objects(process: ProcessFacts | None, gaps: Gaps) -> list[str]:
    """Node's `sharedObjects`: the paths of the loaded libraries, in the order of their addresses."""
    maps = process.maps if process else ()
    if not maps:
        gaps.add("sharedObjects", "the memory map could not be read")
    paths = dict.fromkeys(mapped.path for mapped in maps if _is_code(mapped))
    executable = process.executable if process else None
    libraries = [encodable(path) for path in paths if path != executable][:_MODULES_KEPT]
    return ["linux-vdso.so.1", *libraries] if any(m.path == "[vdso]" for m in maps) else libraries


def modules(process: ProcessFacts | None, gaps: Gaps) -> list[dict[str, Any]]:
    """Every file with code in memory: `{path, buildId, base, end}`, so that any address can be named later."""
    maps = process.maps if process else ()
    if process is None or not maps:
        gaps.add("modules", "the memory map could not be read")
        return []
    paths = list(dict.fromkeys(mapped.path for mapped in maps if _is_code(mapped)))
    if len(paths) > _MODULES_KEPT:
        gaps.add("modules", f"{len(paths) - _MODULES_KEPT} of {len(paths)} modules were left out to bound the size")
    return [_module(path, maps, process.root) for path in paths[:_MODULES_KEPT]]


def _module(path: str, maps: Sequence[Mapped], root: str) -> dict[str, Any]:
    parts = [mapped for mapped in maps if mapped.path == path]
    return {
        "path": encodable(path),
        "buildId": build_id(path, root),
        "base": hex_address(min(mapped.start for mapped in parts)),
        "end": hex_address(max(mapped.end for mapped in parts)),
    }


def _is_code(mapped: Mapped) -> bool:
    return "x" in mapped.permissions and mapped.path.startswith("/")
