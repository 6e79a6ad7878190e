"""The control group of a process, version 1 or 2: memory limit and use, OOM kills, CPU quota and throttling.

Formats: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

UNLIMITED = 1 << 60  # version 1 writes the largest multiple of a page for "no limit"


# What the kernel gives back before it kills: files that nobody has read lately, those of groups below included.
_GIVEN_BACK = {1: "total_inactive_file", 2: "inactive_file"}


@dataclass(frozen=True, slots=True)
class Bound:
    """The group whose memory limit is in force for a process: its own, or one around it."""

    version: int
    folder: Path
    limit: int

    def usage(self) -> int | None:
        """Bytes that the kernel has counted; None where the group is gone."""
        return _number(self.folder / ("memory.usage_in_bytes" if self.version == 1 else "memory.current"))

    def used(self) -> int | None:
        """The same without what the kernel would give back."""
        usage = self.usage()
        if usage is None:
            return None
        return max(0, usage - _pairs(self.folder / "memory.stat").get(_GIVEN_BACK[self.version], 0))

    def notify(self, eventfd: int, thresholds: Iterable[int]) -> bool:
        """Whether the kernel will write to this eventfd each time that usage passes one of these sizes in bytes.

        Version 1 does (memory.txt, "Memory thresholds") for who may write to the group; version 2 has nothing like it.
        """
        if self.version != 1:
            return False
        try:
            with (
                (self.folder / "memory.usage_in_bytes").open() as usage,
                os.fdopen(os.open(self.folder / "cgroup.event_control", os.O_WRONLY), "wb", buffering=0) as control,
            ):
                for threshold in thresholds:
                    control.write(f"{eventfd} {usage.fileno()} {threshold}".encode())
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted hierarchy: its controllers ("" for version 2), the group at its top, and where it is mounted."""

    controllers: frozenset[str]
    root: str
    folder: Path


def read_cgroup(text: str, mounts: tuple[Mount, ...] | None = None) -> dict[str, Any]:
    """What the groups in /proc/<pid>/cgroup say.

    `{"version", "path", "memory": {"limit", "usage", "peak", "failCount", "ooms", "oomKills"}, "cpu": {"quotaCores",
    "periods", "throttledPeriods", "throttledSeconds"}, "frozen"}`; sizes in bytes, `limit` and `quotaCores` None where
    there is none. A key that this kernel or this user does not have is absent; `frozen` is there only where it is true.
    """
    mounts = _mounts() if mounts is None else mounts
    paths = _paths(text)
    version = 1 if "memory" in paths else 2
    controller = "memory" if version == 1 else ""
    found: dict[str, Any] = {"version": version, "path": paths.get(controller)}
    memory = _folders(mounts, paths, controller)
    cpu = _folders(mounts, paths, "cpu" if version == 1 else "")
    if memory:
        found["memory"] = _present(_memory_v1(memory) if version == 1 else _memory_v2(memory))
    if cpu:
        found["cpu"] = _present(_cpu_v1(cpu) if version == 1 else _cpu_v2(cpu))
    if frozen(text, mounts):
        found["frozen"] = True
    return found


def memory_bound(text: str, mounts: tuple[Mount, ...] | None = None) -> Bound | None:
    """Whose memory limit ends the process of this /proc/<pid>/cgroup; None where none does, or none can be seen."""
    paths = _paths(text)
    version = 1 if "memory" in paths else 2
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"
    folders = _folders(_mounts() if mounts is None else mounts, paths, "memory" if version == 1 else "")
    limits = ((_number(folder / name), folder) for folder in folders)
    bounds = [Bound(version, folder, limit) for limit, folder in limits if limit is not None and limit < UNLIMITED]
    return min(bounds, key=lambda bound: bound.limit, default=None)


def frozen(text: str, mounts: tuple[Mount, ...] | None = None) -> bool:
    """Whether the group of this /proc/<pid>/cgroup, or one around it, is frozen, or about to be."""
    mounts, paths = _mounts() if mounts is None else mounts, _paths(text)
    for folder in _folders(mounts, paths, "freezer")[:1]:
        with contextlib.suppress(OSError):
            if (folder / "freezer.state").read_text().strip() != "THAWED":
                return True
    return any(_pairs(folder / "cgroup.events").get("frozen") == 1 for folder in _folders(mounts, paths, "")[:1])


def _paths(text: str) -> dict[str, str]:
    """Controller to group, from lines like `4:memory:/shop` and `0::/shop`."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        fields = line.split(":", 2)
        if len(fields) == 3:
            found.update((controller, fields[2]) for controller in fields[1].split(","))
    return found


@cache
def _mounts() -> tuple[Mount, ...]:
    return parse_mounts(Path("/proc/self/mountinfo").read_text(errors="replace"))


def parse_mounts(mountinfo: str) -> tuple[Mount, ...]:
    """The mounted hierarchies (proc_pid_mountinfo(5)): the part after ` - ` is type, source, options."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) > 4 and len(rest) > 2 and rest[0] in ("cgroup", "cgroup2"):
            controllers = frozenset(rest[2].split(",")) if rest[0] == "cgroup" else frozenset([""])
            found.append(Mount(controllers, fields[3], Path(fields[4])))
    return tuple(found)


def _folders(mounts: tuple[Mount, ...], paths: dict[str, str], controller: str) -> list[Path]:
    """The group's folder and its parents up to the mount, innermost first; empty where we cannot see it."""
    path = paths.get(controller)
    for mount in mounts:
        if path is None or controller not in mount.controllers:
            continue
        inside = os.path.relpath(path, mount.root)
        if ".." in path.split("/") or inside.startswith(".."):
            continue  # outside of what is mounted here: another container's group
        folder = mount.folder / inside
        if folder.is_dir():
            return [folder, *(parent for parent in folder.parents if parent.is_relative_to(mount.folder))]
    return []


def _memory_v1(folders: list[Path]) -> dict[str, Any]:
    here = folders[0]
    control = _pairs(here / "memory.oom_control")
    return {
        "limit": _lowest(_number(folder / "memory.limit_in_bytes") for folder in folders),
        "usage": _number(here / "memory.usage_in_bytes"),
        "peak": _number(here / "memory.max_usage_in_bytes"),
        "failCount": _number(here / "memory.failcnt"),
        "oomKills": control.get("oom_kill"),
    }


def _memory_v2(folders: list[Path]) -> dict[str, Any]:
    here = folders[0]
    events = _pairs(here / "memory.events")
    return {
        "limit": _lowest(_number(folder / "memory.max") for folder in folders),
        "usage": _number(here / "memory.current"),
        "peak": _number(here / "memory.peak"),
        "failCount": events.get("max"),
        "ooms": events.get("oom"),
        "oomKills": events.get("oom_kill"),
    }


def _cpu_v1(folders: list[Path]) -> dict[str, Any]:
    stat = _pairs(folders[0] / "cpu.stat")
    quotas = ((_number(f / "cpu.cfs_quota_us"), _number(f / "cpu.cfs_period_us")) for f in folders)
    return _cpu(quotas, stat, stat.get("throttled_time", 0) / 1e9)


def _cpu_v2(folders: list[Path]) -> dict[str, Any]:
    stat = _pairs(folders[0] / "cpu.stat")
    words = [_words(folder / "cpu.max") for folder in folders]
    quotas = ((_whole(pair[0]), _whole(pair[1])) for pair in words if len(pair) == 2)
    return _cpu(quotas, stat, stat.get("throttled_usec", 0) / 1e6)


def _cpu(quotas: Any, stat: dict[str, int], throttled_s: float) -> dict[str, Any]:
    cores = [quota / period for quota, period in quotas if quota and period and quota > 0]
    return {
        "quotaCores": min(cores, default=None),
        "periods": stat.get("nr_periods"),
        "throttledPeriods": stat.get("nr_throttled"),
        "throttledSeconds": throttled_s if stat else None,
    }


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None or key in ("limit", "quotaCores")}


def _lowest(limits: Any) -> int | None:
    """The limit in force: that of the group or of any group around it."""
    return min((limit for limit in limits if limit is not None and limit < UNLIMITED), default=None)


def _number(path: Path) -> int | None:
    return _whole("".join(_words(path)[:1]))


def _whole(word: str) -> int | None:
    return int(word) if word.lstrip("-").isdigit() else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _pairs(path: Path) -> dict[str, int]:
    words = _words(path)
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}
