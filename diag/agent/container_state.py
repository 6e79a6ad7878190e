"""What container engines leave on disk: which containers run, their first process, their names.

runc (`state.json`), crun (`status`), containerd's shims (`init.pid`, `config.json`), podman (`containers.json`), and
Docker (`config.v2.json`). None of these is a promise, so what cannot be read is one source less.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

LIMIT_BYTES = 8 << 20
RUNC = ("runc/*/state.json", "docker/runtime-runc/*/*/state.json", "containerd/runc/*/*/state.json")
CRUN = ("crun/*/status",)
CONTAINERD = "containerd/io.containerd.runtime.v2.task/*/*/init.pid"
PODMAN_NAMES = "storage/*-containers/containers.json"
DOCKER_NAMES = "/var/lib/docker/containers"
KUBERNETES_NAME = "io.kubernetes.cri.container-name"


@dataclass(frozen=True, slots=True)
class Found:
    """A container that somebody knows of. `pid` is 0 and `name` empty where this source does not say."""

    container_id: str
    name: str = ""
    pid: int = 0


def words_of(entry: Any, key: str) -> str:
    """The text under this key, or an empty one."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""


def running() -> Iterator[Found]:
    """All that this user may read of."""
    for place in _run_folders():
        for pattern in RUNC:
            for path in _paths(place, pattern):
                yield Found(path.parent.name, pid=_number(_read(path), "init_process_pid"))
        for pattern in CRUN:
            for path in _paths(place, pattern):
                yield Found(path.parent.name, pid=_number(_read(path), "pid"))
        for path in _paths(place, CONTAINERD):
            yield Found(path.parent.name, _kubernetes_name(path.with_name("config.json")), _plain_number(path))
    yield from _names()


def _names() -> Iterator[Found]:
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    for place in (Path("/var/lib/containers"), home / "containers"):
        for path in _paths(place, PODMAN_NAMES):
            entries = _read(path)
            for entry in entries if isinstance(entries, list) else []:
                names = entry.get("names") if isinstance(entry, dict) else None
                if isinstance(names, list) and names and isinstance(names[0], str):
                    yield Found(words_of(entry, "id"), names[0])
    for path in _paths(Path(DOCKER_NAMES), "*/config.v2.json"):
        yield Found(path.parent.name, words_of(_read(path), "Name").lstrip("/"))


def _run_folders() -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [Path("/run"), *([Path(runtime)] if runtime else [])]


def _paths(place: Path, pattern: str) -> list[Path]:
    """What fits the pattern. What is removed meanwhile, or closed to us, hides nothing else, as with `Path.glob`."""
    return sorted(place / name for name in glob(pattern, root_dir=place))  # noqa: PTH207


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(LIMIT_BYTES))
    except (OSError, ValueError):
        return None


def _number(entry: Any, key: str) -> int:
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, int) else 0


def _plain_number(path: Path) -> int:
    try:
        return int(path.read_text()[:20])
    except (OSError, ValueError):
        return 0


def _kubernetes_name(path: Path) -> str:
    entry = _read(path)
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    return words_of(annotations, KUBERNETES_NAME)
