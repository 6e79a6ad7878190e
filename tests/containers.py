"""Real containers without a registry: a root folder made of this machine's files, run by podman and runc."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from machine import TIMEOUT_S, need, python

PYTHON = "/opt/py/bin/python"
VERSION = "3.8"
PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
# Without CAP_SYS_RESOURCE no limit can be raised to what podman asks for by itself.
LIMITS = ("--ulimit", "nofile=1024:20000", "--ulimit", "nproc=4096:4096", "--ulimit", "core=-1")
TOOLS = ("cat", "env", "id", "kill", "ls", "nohup", "ps", "setsid", "sh", "sleep", "stty", "head", "hostname", "grep")
LEFT_OUT = ("test", "site-packages", "idlelib", "lib2to3", "ensurepip", "tkinter", "__pycache__", "config-*")
SLEEP = (PYTHON, "-c", "print('ready', flush=True); import time; time.sleep(10000)")


def make_root(folder: Path, *, tools: bool) -> Path:
    """A root folder with another Python than ours, and with or without any program beside it."""
    binary = Path(python(VERSION)).resolve()
    for name in ("bin", "dev", "etc", "lib64", "proc", "sys", "tmp", "opt/py/bin", "opt/py/lib"):
        (folder / name).mkdir(parents=True)
    shutil.copy(binary, folder / PYTHON.lstrip("/"))
    library = next((binary.parent.parent / "lib").glob(f"python{VERSION}"))
    shutil.copytree(library, folder / "opt/py/lib" / library.name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    modules = [str(path) for path in (library / "lib-dynload").glob("*.so") if "ssl" not in path.name]
    for path in _libraries([str(binary), *modules]):
        target = folder / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    if tools:
        shutil.copy(need("busybox"), folder / "bin/busybox")
        for name in TOOLS:
            (folder / "bin" / name).symlink_to("busybox")
    folder.chmod(0o755)
    return folder


def _libraries(files: Sequence[str]) -> set[Path]:
    said = subprocess.run(["ldd", *files], capture_output=True, text=True, check=True).stdout
    words = {word for line in said.splitlines() for word in line.split() if word.startswith("/")}
    return {Path(word) for word in words if not word.endswith(":") and "/lib-dynload/" not in word}


@dataclass
class Podman:
    """Containers of one test; all are removed at its end."""

    root: Path
    bare_root: Path
    names: list[str] = field(default_factory=list)

    def run(self, name: str, *command: str, options: Sequence[str] = (), bare: bool = False) -> int:
        """Start a container from the root folder; returns its first process's pid.

        By then it is the command, and has said "ready" where it is the usual one.
        """
        self.names.append(name)
        root = self.bare_root if bare else self.root
        start = [*PODMAN, "run", "-d", "--name", name, "--network", "none", *LIMITS, *options, "--rootfs", str(root)]
        started = subprocess.run([*start, *(command or SLEEP)], capture_output=True, text=True, check=False)
        assert started.returncode == 0, started.stderr
        pid = int(self.inspect(name)["State"]["Pid"])
        end = time.monotonic() + TIMEOUT_S
        while not self._is_ready(name, pid, awaited="" if command else "ready\n"):
            assert time.monotonic() < end, f"{name} is not ready"
            time.sleep(0.01)
        return pid

    def _is_ready(self, name: str, pid: int, awaited: str) -> bool:
        """Whether it is runc no more, and has said what is awaited."""
        if Path(f"/proc/{pid}/comm").read_text().startswith("runc"):
            return False
        logs = subprocess.run([*PODMAN, "logs", name], capture_output=True, text=True, check=False) if awaited else None
        return logs is None or awaited in logs.stdout

    def inspect(self, name: str) -> dict:
        """What podman knows of it."""
        said = subprocess.run([*PODMAN, "inspect", name], capture_output=True, text=True, check=True)
        return json.loads(said.stdout)[0]

    def close(self) -> None:
        """Remove them all."""
        for name in self.names:
            subprocess.run([*PODMAN, "rm", "-f", "-t", "0", name], capture_output=True, check=False)
