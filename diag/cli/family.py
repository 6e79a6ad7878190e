"""Which processes belong to an instance: those it started, and those that its probes speak for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from diag.agent import registry
from diag.agent.registry import Target
from diag.collectors.proc import Listed, list_processes


@dataclass(frozen=True, slots=True)
class Family:
    """All processes of one moment, by pid, and the children of each."""

    processes: Mapping[int, Listed]
    children: Mapping[int, list[int]]

    def members(self, target: Target) -> Iterator[tuple[Listed, int]]:
        """The instance's processes with their depth: the first one, its descendants, and daemons that left the tree."""
        seen: set[int] = set()
        yield from self._tree(target.pid, 0, seen)
        for pid in self.processes:
            if pid not in seen and registry.black_box(target.run_dir, pid):
                yield from self._tree(pid, 1, seen)

    def _tree(self, pid: int, depth: int, seen: set[int]) -> Iterator[tuple[Listed, int]]:
        if pid not in self.processes or pid in seen:
            return
        seen.add(pid)
        yield self.processes[pid], depth
        for child in self.children.get(pid, ()):
            yield from self._tree(child, depth + 1, seen)


def read() -> Family:
    """The processes of now."""
    processes = {listed.pid: listed for listed in list_processes()}
    children: dict[int, list[int]] = defaultdict(list)
    for listed in processes.values():
        children[listed.parent_pid].append(listed.pid)
    return Family(processes, children)
