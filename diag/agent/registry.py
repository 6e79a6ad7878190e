"""Which instances run on this machine: each agent keeps a folder in the run folder, with who it watches.

<run_dir>/<instance_id>/instance.json   who is watched, by whom
<run_dir>/<instance_id>/s               the door that probes connect to
<run_dir>/<instance_id>/bb/             black boxes; `<pid>.<start ticks>.bb` once the agent knows the process

`diag run` imports this before it starts the command, so containers are imported where they are asked for.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from diag.config import Settings
from diag.errors import NoSuchInstance, UsageError
from diag.probe.diag_probe import layout

FILE_NAME = "instance.json"
FARTHEST = 64  # of ancestors
_KERNEL_THREAD = 0x200000  # PF_KTHREAD of include/linux/sched.h, among the flags in /proc/<pid>/stat
SHORTEST_ID = 12  # a container's id may be all digits; no pid is that long


@dataclass(frozen=True, slots=True)
class Target:
    """An instance, or a single process of nobody's. `run_dir` and `agent_pid` are None where no agent watches it."""

    pid: int
    start_ticks: int
    name: str
    service: str
    instance_id: str
    host: str = ""
    start_time: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    agent_pid: int | None = None
    agent_start_ticks: int | None = None
    run_dir: Path | None = None


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (proc_pid_stat(5), field 22); None where it has ended.

    A zombie has ended: only its parent does not know yet.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def alive(pid: int | None, ticks: int | None) -> bool:
    """Whether this very process, not another with its pid, still runs."""
    return pid is not None and ticks is not None and start_ticks(pid) == ticks


def ancestors(pid: int) -> Iterator[int]:
    """The pids of its parent, that one's parent, and so on; a zombie has them, too."""
    for _ in range(FARTHEST):
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return
        if pid < 1:
            return
        yield pid


def publish(target: Target) -> None:
    """Write the instance's file, whole or not at all."""
    assert target.run_dir is not None
    content = {f.name: getattr(target, f.name) for f in fields(target) if f.name != "run_dir"}
    content["labels"] = dict(target.labels)
    part = target.run_dir / f".{FILE_NAME}"
    part.write_text(json.dumps(content))
    part.chmod(0o600)
    part.rename(target.run_dir / FILE_NAME)


def published(settings: Settings) -> list[Target]:
    """Every instance with a folder here, whether its agent still lives or not."""
    try:
        paths = sorted(settings.run_dir.glob(f"*/{FILE_NAME}"))
    except PermissionError:
        return []  # another user's run folder, kept in XDG_RUNTIME_DIR through su: none of the instances is ours
    found = [_load(path) for path in paths]
    return [target for target in found if target is not None]


def in_folder(folder: Path) -> Target | None:
    """The instance whose run folder this is, as it is written there now; None where there is none, or no more."""
    return _load(folder / FILE_NAME)


def running(settings: Settings) -> list[Target]:
    """The instances whose first process still runs, oldest first."""
    living = [target for target in published(settings) if alive(target.pid, target.start_ticks)]
    return sorted(living, key=lambda target: target.start_ticks)


def find(settings: Settings, text: str) -> Target:
    """The one instance that a name, an instance id (or its start), a pid, a container or `CONTAINER:PID` means.

    Raises NoSuchInstance, or UsageError where several answer.
    """
    if text.isdecimal() and len(text) < SHORTEST_ID:
        return _find_pid(settings, int(text))
    known = running(settings)
    matches = [t for t in known if t.name == text] or [t for t in known if t.instance_id.startswith(text)]
    if not matches:
        return _find_in_container(settings, text)
    if len(matches) > 1:
        listed = ", ".join(f"{target.pid}" for target in matches)
        raise UsageError(f"{len(matches)} instances are called {text!r}.", f"Say which one by its pid: {listed}.")
    return matches[0]


def black_box(run_dir: Path | None, pid: int) -> Path | None:
    """The black box of this process of an instance, where a probe is linked."""
    ticks = start_ticks(pid)
    if run_dir is None or ticks is None:
        return None
    path = box_path(run_dir, pid, ticks)
    return path if path.exists() else None


def box_path(run_dir: Path, pid: int, ticks: int) -> Path:
    """Where the agent keeps the black box of a process it knows."""
    return run_dir / layout.BOX_FOLDER / (layout.BOX_NAME % (pid, ticks))


def claim_path(box: Path) -> Path:
    """Where it stands which capture the end of a black box's process becomes."""
    return box.with_suffix(".claim")


def history_path(run_dir: Path, pid: int, ticks: int) -> Path:
    """Where the agent keeps what a process used over its last minutes; it may have no black box."""
    return box_path(run_dir, pid, ticks).with_suffix(".history")


def read_path(box: Path) -> Path:
    """Where it stands how many of a black box's events are recorded."""
    return box.with_suffix(".read")


def note_read(box: Path, events: int) -> None:
    """Note beside a black box how many of its events are recorded."""
    with contextlib.suppress(OSError):
        read_path(box).write_text(str(events))


def noted_read(box: Path) -> int:
    """How many events of a black box are recorded, by what an agent has noted."""
    try:
        return int(read_path(box).read_text())
    except (OSError, ValueError):
        return 0


def _find_pid(settings: Settings, pid: int) -> Target:
    ticks = start_ticks(pid)
    if ticks is None or _is_kernels(pid):
        raise NoSuchInstance(_why_none(pid))
    for target in running(settings):
        if pid == target.pid:
            return target
        if target.run_dir is not None and box_path(target.run_dir, pid, ticks).exists():
            return _process_of(target, pid, ticks)
    from diag.agent import containers

    found = containers.Containers().of(pid) if containers.id_of(pid) else None
    return _process(settings, pid, ticks, labels=found.labels if found else {})


def _fields(pid: int) -> list[bytes]:
    """What stands in /proc/<pid>/stat behind the name; nothing where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _is_kernels(pid: int) -> bool:
    fields = _fields(pid)
    return len(fields) > 6 and bool(int(fields[6]) & _KERNEL_THREAD)


def _why_none(pid: int) -> str:
    fields = _fields(pid)
    if fields[:1] == [b"Z"]:
        return f"process {pid} has ended, and its parent, process {fields[1].decode()}, has not asked how yet."
    return f"{pid} is a thread of the kernel, and no program." if _is_kernels(pid) else f"no process has the pid {pid}."


def names_process(text: str) -> bool:
    """Whether this means a single process, by its pid here or in a container, and not all of an instance."""
    return text.rpartition(":")[2].isdecimal()


def _find_in_container(settings: Settings, text: str) -> Target:
    from diag.agent import containers

    everything = containers.Containers()
    whole, colon, inside = text.rpartition(":")
    by_pid = bool(whole and colon and inside.isdecimal())
    container = everything.find(whole if by_pid else text)
    if container is None:
        raise NoSuchInstance(f"no instance or container is called {text!r}.")
    pid = containers.process_in(container, int(inside)) if by_pid else containers.main_process(container)
    ticks = start_ticks(pid)
    if ticks is None:
        raise NoSuchInstance(f"the process {pid} of the container {container.name} has ended.")
    target = _process(settings, pid, ticks, labels=container.labels)
    return target if by_pid else replace(target, name=container.name, service=settings.service or container.name)


def _process(settings: Settings, pid: int, ticks: int, *, labels: Mapping[str, str]) -> Target:
    """A process of nobody's. Raises NoSuchInstance."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        raise NoSuchInstance(f"the process {pid} has just ended.") from None
    instance_id = f"{os.uname().nodename}/{pid}/{ticks}"
    return Target(pid, ticks, name, settings.service or name, instance_id, labels=labels)


def _process_of(target: Target, pid: int, ticks: int) -> Target:
    values: dict[str, Any] = {f.name: getattr(target, f.name) for f in fields(target)}
    return Target(**{**values, "pid": pid, "start_ticks": ticks, "start_time": ""})


def _load(path: Path) -> Target | None:
    try:
        content = json.loads(path.read_text())
        return Target(**content, run_dir=path.parent)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # being written, or not ours
