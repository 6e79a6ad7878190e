"""A profile as speedscope's JSON: one profile in the file for each thread and sample type.

Source: https://www.speedscope.app/file-format-schema.json

The schema allows other keys, and speedscope passes over them. The key `diag` holds what the format has no place for:
names and units of the types, labels, moments, the recording. Not kept: addresses, mappings, system names, inlining.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from diag import __version__
from diag.profiles import recording
from diag.profiles.model import PID, PROCESS, THREAD, THREAD_ID, Labels, Profile, label
from diag.profiles.transform import aggregate

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_UNITS = {"nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"}
_IDENTITY = (PID, PROCESS, THREAD_ID, THREAD)


def write(profile: Profile) -> bytes:
    """The file's content. Lost and invalid samples stand in its name."""
    kept = aggregate(profile) if profile.times is None else profile
    return "".join(_parts(kept)).encode("utf-8", "replace")


def _parts(profile: Profile) -> Iterator[str]:
    threads = _threads(profile)
    stacks = _stacks(profile)
    columns = range(len(profile.sample_types))
    title = recording.sentence(profile.recording) or "profile"
    head = {"$schema": SCHEMA, "exporter": f"diag@{__version__}", "name": title}
    yield _json(head | {"activeProfileIndex": profile.column() * len(threads)})[:-1]
    yield ',"shared":{"frames":' + _json([_frame(profile, index) for index in range(len(profile.frames))]) + "}"
    yield ',"profiles":['
    told = []
    for place, (column, thread) in enumerate((column, thread) for column in columns for thread in range(len(threads))):
        name, rows = threads[thread]
        kind = profile.sample_types[column]
        values = [profile.values[column][row] for row in rows]
        weights = [max(value, 0) for value in values]  # speedscope refuses a file with a negative one
        several = len(columns) > 1
        one = {
            "type": "sampled",
            "name": f"{name}, {kind.name}" if several else name,
            "unit": kind.unit if kind.unit in _UNITS else "none",
            "startValue": 0,
            "endValue": sum(weights),
            "weights": weights,
        }
        yield ("," if place else "") + _json(one)[:-1] + ',"samples":['
        yield ",".join([stacks[profile.stack_of[row]] for row in rows]) + "]}"
        extra: dict[str, Any] = {"type": kind.name, "unit": kind.unit, "thread": thread}
        extra |= {"values": values} if weights != values else {}
        told.append(extra | (_tags(profile, rows) if column == 0 else {}))
    yield '],"diag":' + _json(_header(profile) | {"profiles": told}) + "}"


def _threads(profile: Profile) -> list[tuple[str, Sequence[int]]]:
    """(name, rows) of each thread, the one with most samples first, rows by their moments."""
    identities = [tuple(one for one in labels if one.key in _IDENTITY) for labels in profile.label_sets]
    numbers: dict[Labels, int] = {}
    thread_of = [numbers.setdefault(one, len(numbers)) for one in identities]
    rows = [array("I") for _ in numbers]
    for row, tags in enumerate(profile.labels_of):
        rows[thread_of[tags]].append(row)
    times = profile.times
    named = [
        (_name(labels), sorted(found, key=times.__getitem__) if times is not None else found)
        for labels, found in zip(numbers, rows, strict=True)
        if found
    ]
    return sorted(named, key=lambda one: -len(one[1])) or [("no samples", [])]


def _name(labels: Labels) -> str:
    """`Process 4711 Thread 4712 "worker"`, which is how py-spy says it."""
    pid, thread_id, thread = (label(labels, key) for key in (PID, THREAD_ID, THREAD))
    parts = [f"Process {pid}"] if pid is not None else []
    parts += [f"Thread {thread_id}"] if thread_id is not None else ["Thread"] if thread is not None else []
    parts += [f'"{thread}"'] if thread is not None else []
    process = label(labels, PROCESS)
    parts += [f"({process})"] if process is not None else []
    return " ".join(parts) or "all samples"


def _stacks(profile: Profile) -> list[str]:
    """Each stack as JSON, outermost first."""
    texts = [str(index) for index in range(len(profile.frames))]
    return ["[" + ",".join(map(texts.__getitem__, reversed(stack))) + "]" for stack in profile.stacks]


def _frame(profile: Profile, index: int) -> dict[str, Any]:
    frame = profile.frames[index]
    name = frame.function or frame.system_name or (f"{frame.address:#x}" if frame.address else "?")
    found: dict[str, Any] = {"name": name}
    found |= {"file": frame.file} if frame.file else {}
    found |= {"line": frame.line} if frame.line else {}
    return found | ({"col": frame.column} if frame.column else {})


def _tags(profile: Profile, rows: Sequence[int]) -> dict[str, Any]:
    """Label sets of the thread's samples, one number where all have the same, and their moments."""
    labels = [profile.labels_of[row] for row in rows]
    tags: dict[str, Any] = {"labels": labels[0] if len(set(labels)) == 1 else labels}
    return tags | ({"times": [profile.times[row] for row in rows]} if profile.times is not None else {})


def _header(profile: Profile) -> dict[str, Any]:
    return {
        "label_sets": profile.label_sets,
        "recording": recording.written(profile.recording),
        "start_ns": profile.start_ns,
        "duration_ns": profile.duration_ns,
        "period_type": profile.period_type,
        "period": profile.period,
        "default_type": profile.default_type,
        "comments": profile.comments,
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
