"""Node's own diagnostic report, asked for through NODE_OPTIONS: it is written inside the process as it dies."""

from __future__ import annotations

import os
import re
import shutil
from itertools import takewhile
from pathlib import Path

REPORT_NAME = "node.json"
VERSION_WAIT_S = 10.0  # a node that the disk has to bring first is as slow to start itself
_NAMES = ("node", "nodejs")
_VERSION = re.compile(rb"v(\d+)\.(\d+)\.")
_WANTED = ("--report-uncaught-exception", "--report-on-fatalerror")
_OWN_REPORT = re.compile(r"(?:^|[\s\"])--(?:no-)?(?:experimental-)?report\b")


def inject(command: list[str], environment: dict[str, str], folder: Path) -> None:
    """Ask a Node that the command starts for a report in the folder, before the user's own options.

    Not where the user has options for reports: they are kept, and Node has only one set of them. Nor where Node is
    older than 12: it ends at an option that it does not know, so its version is asked for first.
    """
    node = _node_of(command, environment)
    theirs = environment.get("NODE_OPTIONS", "")
    options = takewhile(lambda word: word.startswith("-"), command[1:])
    if node is None or any(_OWN_REPORT.search(words) for words in (theirs, *options)):
        return
    version = _version(node, environment)
    if version is None or version < (12, 0):
        return
    ours = [*_WANTED, f"--report-filename={folder / REPORT_NAME}"]
    if version < (12, 17) or (13, 0) <= version < (13, 12):
        ours.insert(0, "--experimental-report")
    environment["NODE_OPTIONS"] = " ".join([*map(_quoted, ours), *([theirs] if theirs else [])])


def _node_of(command: list[str], environment: dict[str, str]) -> str | None:
    """The Node that the command is, or that its first line names, as npm's does."""
    path = environment.get("PATH", os.defpath)
    program = shutil.which(command[0], path=path)
    if program is None or Path(program).name in _NAMES:
        return program
    try:
        with open(program, "rb") as file:  # noqa: PTH123  a pipe or device is no program: which() has looked
            first = file.readline(256)
    except OSError:
        return None
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    named = [word for word in words if Path(word).name in _NAMES]
    return shutil.which(named[0], path=path) if named else None


def _version(node: str, environment: dict[str, str]) -> tuple[int, int] | None:
    import subprocess  # every other start does without

    bare = {name: value for name, value in environment.items() if name != "NODE_OPTIONS"}
    try:
        asked = subprocess.run(
            [node, "--version"],
            env=bare,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=VERSION_WAIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.match(asked.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _quoted(word: str) -> str:
    """As src/node_options.cc takes NODE_OPTIONS apart: at spaces, but for those between double quotes."""
    if not re.search(r'[\s"\\]', word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class ReportLines:
    """Takes out of stderr what Node says about a report to this file, so that nothing of ours is seen there."""

    def __init__(self, report: Path) -> None:
        # src/node_report.cc: in three or four writes, the first of them up to the file's name.
        self._head = b"\nWriting Node.js report to file: "
        self._whole = self._head + os.fsencode(report) + b"\nNode.js report completed\n"
        self._held = b""

    def without(self, content: bytes) -> bytes:
        """What of the content is to be passed on now; a part that may yet turn out to be these lines is held back."""
        content = (self._held + content).replace(self._whole, b"")
        start = content.rfind(self._head)
        maybe = start >= 0 and self._whole.startswith(content[start:])
        self._held = content[start:] if maybe else b""
        return content[:start] if maybe else content

    def rest(self) -> bytes:
        """What was held back, at the end of stderr."""
        held, self._held = self._held, b""
        return held
