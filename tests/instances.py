"""Programs under `diag run`, and what they leave: for tests that look at the whole way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import PROGRAMS, TIMEOUT_S
from moving import content, listed
from reports import validate

DIAG = [sys.executable, "-m", "diag"]


@dataclass
class Ended:
    """How a command ended and what it wrote."""

    status: int
    stdout: str
    stderr: str


class Machine:
    """A machine of its own: a home with nothing configured, so captures go to the local store under it."""

    def __init__(self, home: Path, variables: Mapping[str, str] | None = None, *, limit_s: float = TIMEOUT_S) -> None:
        self.home = home
        self._limit_s = limit_s
        own = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
        self.environment = {**os.environ, **own, **(variables or {})}
        self._started: list[subprocess.Popen[str]] = []

    def start(
        self, *command: str, run: bool = True, flags: tuple[str, ...] = (), **popen: Any
    ) -> subprocess.Popen[str]:
        """Start the command, under `diag run` unless told otherwise; its output comes through pipes."""
        whole = [*DIAG, "run", *flags, "--", *command] if run else list(command)
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        environment = {**self.environment, **popen.pop("env", {})}
        process = subprocess.Popen(whole, env=environment, text=True, **{**options, **popen})
        self._started.append(process)
        return process

    def run(self, *command: str, run: bool = True, flags: tuple[str, ...] = (), **popen: Any) -> Ended:
        """Start the command and wait for it."""
        process = self.start(*command, run=run, flags=flags, **popen)
        stdout, stderr = process.communicate(timeout=self._limit_s)
        return Ended(process.returncode, stdout, stderr)

    def diag(self, *arguments: str, **popen: Any) -> Ended:
        """Run another `diag` command."""
        return self.run(*DIAG, *arguments, run=False, **popen)

    @property
    def state(self) -> Path:
        """The state folder, with the spool and the store."""
        return self.home / ".local/state/diag"

    def captures(self) -> list[dict[str, Any]]:
        """The manifests of everything that was kept, oldest first, as the store holds them.

        An agent takes a second at most to deliver, and may end between the store and the spool: that is one capture.
        What leaves the spool while it is looked at is in the store by then, which is listed after it.
        """
        manifests: dict[str, dict[str, Any]] = {}
        for place in ("spool/pending", "store/v1"):
            for text in content(listed(self.state, f"{place}/**/manifest.json")).values():
                manifest = json.loads(text)
                manifests[manifest["capture_id"]] = manifest
        return [manifests[capture_id] for capture_id in sorted(manifests)]

    def only_capture(self) -> dict[str, Any]:
        """The manifest, after asserting that there is exactly one."""
        captures = self.captures()
        assert len(captures) == 1, [(c["kind"], c["level"], c["title"]) for c in captures]
        return captures[0]

    def report_of(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The report of a capture, valid against the schema."""
        name = next(artifact["name"] for artifact in manifest["artifacts"] if artifact["kind"] == "report")
        return validate(json.loads(self.artifact(manifest, name)))

    def artifact(self, manifest: dict[str, Any], name: str) -> bytes:
        """This file of a capture, from the spool or from the store, where it is once it has left the spool."""
        for folder in ("spool", "store"):
            if files := content(listed(self.state, f"{folder}/**/{manifest['capture_id']}*/{name}")):
                return next(iter(files.values()))
        raise FileNotFoundError(f"{name} of {manifest['capture_id']} is in no folder of {self.state}")

    def only_report(self) -> dict[str, Any]:
        """The report of the one capture there is."""
        return self.report_of(self.only_capture())

    def kept(self) -> bytes:
        """All that `diag` keeps, in one. What leaves the spool while it is read is in the store by then."""
        elsewhere = content([path for path in listed(self.home, "**/*") if self.state / "store" not in path.parents])
        return b"\n".join([*elsewhere.values(), *content(listed(self.state, "store/**/*")).values()])

    def close(self) -> None:
        """Kill and reap what a test left running."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()


def program(name: str) -> str:
    """The path of a test program."""
    return str(PROGRAMS / name)


def marker(name: str, mark: str) -> int:
    """The number of the line that carries `# MARK: mark`."""
    lines = (PROGRAMS / name).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.rstrip().endswith(f"# MARK: {mark}"))
