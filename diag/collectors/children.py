"""The descendants of a process, for tools that do not find them by themselves."""

from __future__ import annotations

from collections import defaultdict

from diag.collectors.proc import list_processes


def with_descendants(pid: int) -> list[int]:
    """The process, and all that it started that still run, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for listed in list_processes():
        children[listed.parent_pid].append(listed.pid)
    found = [pid]
    for one in found:
        found += children[one]
    return found
