"""Where a process's memory is, by mapping: files, heap, stacks, anonymous memory. Read from /proc, without a stop.

Source: proc_pid_smaps(5). While the kernel writes a page of that file it holds the lock of the process's memory map for
reading, so whoever maps memory there waits, milliseconds at most; how long all of the reading took is told.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from diag.collectors.collector import Subject
from diag.collectors.proc import check_attachable
from diag.collectors.procfs import ProcFolder, kib, parse_status
from diag.errors import CannotAttach, DiagError, NoSuchInstance
from diag.model import Missing

# The file's names for what is counted, and ours.
COUNTED = {"Size": "size", "Rss": "rss", "Pss": "pss", "Private_Dirty": "private_dirty", "Swap": "swap"}
_GROWS = ("rss", "pss", "private_dirty", "swap")
_KINDS = {"": "anonymous", "[heap]": "heap", "[stack]": "stack"}
_SHARED = ("/dev/shm/", "/memfd:", "/SYSV", "/dev/zero")

Key = tuple[str, str]  # (kind, name)
Groups = dict[Key, dict[str, int]]


class Mappings:
    """A look at the block's beginning, and one at its end where it was worth the wait; `told()` is both.

    Raises CannotAttach and NoSuchInstance at the first look; a last one that could not be had is in `missing`.
    """

    def __init__(self, subject: Subject, *, twice: bool) -> None:
        self._subject = subject
        self._twice = twice
        self._looks: list[tuple[float, Groups, dict[str, int]]] = []
        self.read_s = 0.0
        self.missing: tuple[Missing, ...] = ()

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._twice and error is None:
            try:
                self._look()
            except DiagError as trouble:
                self.missing = (Missing("memory.mappings", f"the last look could not be had: {trouble}"),)

    def _look(self) -> None:
        began = time.monotonic()
        groups, process = look(self._subject)
        self._looks.append((began, groups, process))
        self.read_s = max(self.read_s, time.monotonic() - began)

    def told(self) -> dict[str, Any]:
        """`groups`, the largest first, with `growth` where there were two looks, and the sum of all as `process`."""
        (first_at, before, _), (last_at, after, process) = self._looks[0], self._looks[-1]
        twice = len(self._looks) > 1
        rows = [_row(key, after.get(key, {}), before.get(key, {}) if twice else None) for key in {**after, **before}]
        sums = {name: sum(row[name] for row in rows) for name in COUNTED.values()}
        whole: dict[str, Any] = {**sums, **process}
        if twice:
            whole["growth"] = {name: sum(row["growth"][name] for row in rows) for name in _GROWS}
        return {
            "groups": sorted(rows, key=lambda row: (-row["rss"], -row["size"], row["name"])),
            "process": whole,
            "apart_s": last_at - first_at,
            "read_s": self.read_s,
        }


def look(subject: Subject) -> tuple[Groups, dict[str, int]]:
    """(what each group of mappings takes, what the kernel says of all): bytes. Raises CannotAttach, NoSuchInstance."""
    with ProcFolder(subject.pid) as folder:
        try:
            text, status = folder.text("smaps"), parse_status(folder.text("status"))
        except PermissionError:
            check_attachable(subject.pid)
            raise CannotAttach(f"The mappings of process {subject.pid} cannot be read by this user.") from None
        except (FileNotFoundError, ProcessLookupError) as error:
            raise NoSuchInstance(f"Process {subject.pid} has ended.") from error
    if not text:
        raise NoSuchInstance(f"Process {subject.pid} has no memory (any more): it has ended.")
    known = {"peak_rss": kib(status, "VmHWM"), "virtual": kib(status, "VmSize")}
    return grouped(text), {name: value for name, value in known.items() if value is not None}


def grouped(text: str) -> Groups:
    """The sums of an smaps file by kind and name of the mappings."""
    groups: Groups = defaultdict(lambda: dict.fromkeys((*COUNTED.values(), "mappings"), 0))
    group: dict[str, int] = {}
    for line in text.split("\n"):
        name, colon, rest = line.partition(":")
        # A mapping begins with its address in small hex digits; every other line with a word.
        if line and not name[:1].isupper():
            fields = line.split(None, 5)
            group = groups[_key(fields[5] if len(fields) > 5 else "")]
            group["mappings"] += 1
        elif colon and name in COUNTED:
            group[COUNTED[name]] += int(rest.split()[0]) * 1024
    return dict(groups)


def _key(path: str) -> Key:
    if path in _KINDS:
        return _KINDS[path], _KINDS[path]
    if path.startswith("["):
        return ("anonymous", path[1:-1]) if path.startswith("[anon") else ("kernel", path)
    return ("shared" if path.startswith(_SHARED) else "file"), path


def _row(key: Key, after: Mapping[str, int], before: Mapping[str, int] | None) -> dict[str, Any]:
    kind, name = key
    row: dict[str, Any] = {"kind": kind, "name": name, "mappings": after.get("mappings", 0)}
    row |= {one: after.get(one, 0) for one in COUNTED.values()}
    if before is not None:
        row["growth"] = {one: after.get(one, 0) - before.get(one, 0) for one in _GROWS}
    return row
