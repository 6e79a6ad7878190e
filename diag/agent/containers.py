"""Containers: which one a name or an id means, which process is its first, and in which one a process runs.

A container is whatever the kernel sees as one: a cgroup whose path carries an id, or a first process in namespaces of
its own. Engines are asked for names, on disk first and through their API last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from diag.agent import container_state, docker_api
from diag.agent.container_state import Found
from diag.collectors.procfs import ProcFolder, parse_status
from diag.errors import NoSuchInstance, UsageError

# Docker (cgroupfs, systemd), podman, cri-o, containerd under Kubernetes: all have 64 hexadecimal digits in the path.
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
SHORTEST_PREFIX = 4
ID_SHOWN = 12
# They only start and reap the one process that the container is for.
INITS = frozenset(("catatonit", "tini", "docker-init", "dumb-init", "podman-init", "conmon-init"))


@dataclass(frozen=True, slots=True)
class Container:
    """`pid` is its first process, as this machine counts them. `name` is the start of the id where none is known."""

    container_id: str
    name: str
    pid: int

    @property
    def labels(self) -> dict[str, str]:
        """As OpenTelemetry names them."""
        return {"container.id": self.container_id, "container.name": self.name}


class Containers:
    """The containers of this moment. Each source is asked once, and only when it is needed."""

    @cached_property
    def _members(self) -> dict[str, list[int]]:
        members: dict[str, list[int]] = {}
        for pid in _pids():
            found = id_of(pid)
            if found:
                members.setdefault(found, []).append(pid)
        return members

    @cached_property
    def _on_disk(self) -> dict[str, Found]:
        return _merged(container_state.running())

    @cached_property
    def _told(self) -> dict[str, Found]:
        return _merged(docker_api.running())

    def find(self, text: str) -> Container | None:
        """The one that this name, id, or start of an id means. Raises UsageError where several answer."""
        for sources in ((self._on_disk,), (self._on_disk, self._told)):
            matching = self._matching(text, sources)
            if len(matching) > 1:
                listed = ", ".join(f"{one.name} ({one.container_id[:ID_SHOWN]}, pid {one.pid})" for one in matching)
                raise UsageError(f"{len(matching)} containers are called {text!r}: {listed}.", "Give more of the id.")
            if matching:
                return matching[0]
        return None

    def of(self, pid: int) -> Container | None:
        """The container that the process runs in, with its name where that stands on disk."""
        found = id_of(pid)
        if found:
            return self._container(found, self._on_disk)
        same = [one for one in self._on_disk.values() if one.pid and _same_pids(one.pid, pid)]
        return self._container(same[0].container_id, self._on_disk) if same else None

    def _matching(self, text: str, sources: Iterable[dict[str, Found]]) -> list[Container]:
        names = {key: found.name for source in sources for key, found in source.items() if found.name}
        everything = dict.fromkeys((*self._members, *(key for source in sources for key in source)))
        named = [key for key in everything if names.get(key) == text]
        if not named and len(text) >= SHORTEST_PREFIX:
            named = [key for key in everything if key.startswith(text)]
        found = (self._container(key, *sources) for key in named)
        return [one for one in found if one is not None]

    def _container(self, container_id: str, *sources: dict[str, Found]) -> Container | None:
        known = [source[container_id] for source in sources if container_id in source]
        name = next((one.name for one in known if one.name), container_id[:ID_SHOWN])
        pid = next((one.pid for one in known if one.pid and _runs_apart(one.pid)), 0)
        pid = pid or self._first(container_id) or (docker_api.pid_of(container_id) if len(sources) > 1 else None) or 0
        return Container(container_id, name, pid) if pid else None

    def _first(self, container_id: str) -> int | None:
        """Of the processes in its cgroup the one that has pid 1 in there, else the oldest."""
        members = self._members.get(container_id, [])
        return next((pid for pid in members if inside_pid(pid) == 1), min(members, key=_age, default=None))


def id_of(pid: int) -> str | None:
    """The id in the path of the process's cgroup; the innermost, where containers stand in one another."""
    try:
        with ProcFolder(pid) as folder:
            ids = _ID.findall(folder.text("cgroup"))
    except (OSError, NoSuchInstance):
        return None
    return ids[-1] if ids else None


def inside_pid(pid: int) -> int | None:
    """Its pid in its own pid namespace (proc_pid_status(5), NSpid)."""
    try:
        with ProcFolder(pid) as folder:
            return int(parse_status(folder.text("status")).get("NSpid", "").split()[-1])
    except (OSError, NoSuchInstance, IndexError, ValueError):
        return None


def process_in(container: Container, pid: int) -> int:
    """The process that has this pid inside the container. Raises NoSuchInstance."""
    for one in _pids():
        if inside_pid(one) == pid and _same_pids(one, container.pid):
            return one
    raise NoSuchInstance(f"no process has the pid {pid} in the container {container.name}.")


def main_process(container: Container) -> int:
    """The process that the container is for: its first, or the one child of an init that does nothing itself."""
    from diag.collectors.proc import list_processes

    everybody = list_processes()
    first = next((one for one in everybody if one.pid == container.pid), None)
    children = [one.pid for one in everybody if one.parent_pid == container.pid]
    return children[0] if first is not None and first.name in INITS and len(children) == 1 else container.pid


def _merged(found: Iterable[Found]) -> dict[str, Found]:
    merged: dict[str, Found] = {}
    for one in found:
        if one.container_id:
            before = merged.get(one.container_id, one)
            merged[one.container_id] = Found(one.container_id, before.name or one.name, before.pid or one.pid)
    return merged


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208  numbers, not paths


def _age(pid: int) -> tuple[int, int]:
    from diag.agent.registry import start_ticks

    return start_ticks(pid) or 0, pid


def _identity(pid: int) -> tuple[int, int] | None:
    try:
        with ProcFolder(pid) as folder:
            return folder.identity("ns/pid")
    except (OSError, NoSuchInstance):
        return None


def _same_pids(one: int, other: int) -> bool:
    """Whether both are in one pid namespace that is not ours."""
    found = _identity(one)
    return found is not None and found == _identity(other) != _identity(os.getpid())


def _runs_apart(pid: int) -> bool:
    """Whether the pid that was noted still belongs to something in a container: notes outlive their processes."""
    found = _identity(pid)
    return found is not None and (id_of(pid) is not None or found != _identity(os.getpid()))
