"""The text that `perf script` prints, to a profile: native frames, and what runtimes name in `/tmp/perf-<pid>.map`.

Source: perf-script(1), and tools/perf/Documentation/jit-interface.txt in the kernel's tree
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from diag.errors import BadProfile
from diag.profiles import model
from diag.profiles.builder import Builder
from diag.profiles.limits import reading, text
from diag.profiles.model import PID, PROCESS, SAMPLES, THREAD, THREAD_ID, Frame, Label, Profile, Recording, SampleType

# `python3 14901/14902 [001]   560.775255:   10101010 cpu-clock:`, where the parts in brackets may be missing.
_HEAD = re.compile(r"(\S.*?)\s+(-?\d+)(?:/(-?\d+))?\s+(?:\[\d+\]\s+)?(\d+)\.(\d+):\s+(?:(\d+)\s+)?(\S+):(?:\s+(.*))?")
_PLACE = re.compile(r"\s+([0-9a-f]+)\s+(.*?)(?:\+0x[0-9a-f]+)?(?: \(([^()]*(?:\([^()]*\))?[^()]*)\))?\s*")
_LOST = re.compile(r".*PERF_RECORD_LOST(?:_SAMPLES)?\s.*?lost:?\s*(\d+).*", re.IGNORECASE)
_CLOCKS = {"cpu-clock", "task-clock"}
_MODIFIER = re.compile(r":[a-zA-Z]{1,4}$")  # `cycles:u`: in user space only
_UNKNOWN = "[unknown]"
_EPOCH_NS = 1_000_000_000 * 1_000_000_000  # a clock beyond this counts from 1970 (`perf record -k CLOCK_REALTIME`)
# How CPython's trampolines (`py::work:/srv/app.py`) and V8 (`JS:*work /srv/app.js:12:3`) name their functions.
_PYTHON = re.compile(r"py::(.*):(.*)")
_V8 = re.compile(r"(?:JS|LazyCompile|Function|Script|Eval):[~^*+]?(.*?) ?(\S*?):(\d+)(?::(\d+))?")


def read(content: bytes, maps: Mapping[int, str] | None = None) -> Profile:
    """The profile. `maps` holds the text of `perf-<pid>.map` by pid, for the frames that perf could not name.

    Raises BadProfile.
    """
    with reading("output of perf script"):
        named = {pid: _Names(lines) for pid, lines in (maps or {}).items()}
        return _Reader(named).profile(text(content))


class _Names:
    """The functions of a perf map: `START SIZE name` a line, in hexadecimal."""

    def __init__(self, lines: str) -> None:
        found = []
        for line in lines.splitlines():
            start, _, rest = line.partition(" ")
            size, _, name = rest.partition(" ")
            try:
                found.append((int(start, 16), int(size, 16), name))
            except ValueError:
                continue  # the process may still be writing its last line
        self._places = sorted(found)
        self._starts = [start for start, _, _ in self._places]

    def name(self, address: int) -> str | None:
        """The function at this address; where it was compiled again, the later one."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start, size, name = self._places[index]
        return name if address < start + size else None


@dataclass(slots=True)
class _Sample:
    labels: int
    time_ns: int
    event: str
    weight: int
    pid: int
    frames: list[int] = field(default_factory=list)


class _Reader:
    def __init__(self, names: Mapping[int, _Names]) -> None:
        self._names = names
        self._tables = Builder([])  # frames and labels; the types are known when all samples are
        self._samples: list[_Sample] = []
        self._mappings: dict[str, model.Mapping] = {}
        self._lost = 0

    def profile(self, lines: str) -> Profile:
        """The profile, all of it read."""
        for number, line in enumerate(lines.split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line[0] in " \t" and self._samples and (found := _PLACE.fullmatch(line)):
                sample = self._samples[-1]
                sample.frames.append(self._frame(sample.pid, *found.groups()))
            elif found := _LOST.fullmatch(line):
                self._lost += int(found[1])
            elif found := _HEAD.fullmatch(line):
                self._begin(found)
            elif "PERF_RECORD_" not in line:
                raise BadProfile(f"Line {number} is neither a sample nor a place in the code.")
        return self._built()

    def _begin(self, found: re.Match[str]) -> None:
        command, first, second, seconds, fraction, period, event, place = found.groups()
        pid, thread_id = (first, second) if second else (None, first)
        labels = [Label(PID, int(pid)), Label(PROCESS, command)] if pid else [Label(THREAD, command)]
        tags = self._tables.labels([*labels, Label(THREAD_ID, int(thread_id))])
        time_ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])
        sample = _Sample(tags, time_ns, event, int(period or 1), int(pid or thread_id))
        if alone := _PLACE.fullmatch(f" {place}"):  # without call graphs the only frame stands on the same line
            sample.frames.append(self._frame(sample.pid, *alone.groups()))
        self._samples.append(sample)

    def _frame(self, pid: int, address: str, name: str, file: str | None) -> int:
        at = int(address, 16)
        known = self._names.get(pid)
        if name == _UNKNOWN and known is not None:
            name = known.name(at) or name
        function, source, line, column = _parsed(name)
        mapping = None
        if file and file != _UNKNOWN and not source:
            mapping = self._mappings.setdefault(file, model.Mapping(file=file))
        return self._tables.frame(Frame(function, source, line, column, address=at, mapping=mapping))

    def _built(self) -> Profile:
        events = list(dict.fromkeys(sample.event for sample in self._samples))
        types = [SAMPLES, *(_type(event) for event in events)]
        if len(set(types)) != len(types):
            types = [SAMPLES, *(SampleType(event, _type(event).unit) for event in events)]
        start = min((sample.time_ns for sample in self._samples), default=0)
        end = max((sample.time_ns for sample in self._samples), default=0)
        builder = self._tables.with_types(types, timed=True)
        for sample in self._samples:
            values = [1, *(sample.weight if sample.event == event else 0 for event in events)]
            builder.add(builder.stack(tuple(sample.frames)), values, sample.labels, sample.time_ns - start)
        return builder.build(
            start_ns=start if start > _EPOCH_NS else 0,
            recording=Recording(engine="perf", mode="cpu", lost=self._lost),
            duration_ns=end - start,
            mappings=tuple(self._mappings.values()),
            default_type=types[-1].name,
        )


def _type(event: str) -> SampleType:
    name = _MODIFIER.sub("", event)
    return SampleType("cpu", "nanoseconds") if name in _CLOCKS else SampleType(name, "count")


def _parsed(name: str) -> tuple[str, str, int, int]:
    """(function, file, line, column) of what perf or a runtime calls a function."""
    if name == _UNKNOWN:
        return "", "", 0, 0
    if found := _PYTHON.fullmatch(name):
        return found[1], found[2], 0, 0
    if found := _V8.fullmatch(name):
        return found[1] or "(anonymous)", found[2].removeprefix("file://"), int(found[3]), int(found[4] or 0)
    return name, "", 0, 0
