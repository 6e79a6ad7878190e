"""Collapsed stacks, one line each with a number at the end, to a profile and back.

Sources: https://github.com/brendangregg/FlameGraph (the format), py-spy's `raw`, austin's text. The last two say more
in their lines: where a frame stands, and of which process and thread the stack is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from diag.errors import BadProfile
from diag.profiles import austin, tags
from diag.profiles.builder import Builder
from diag.profiles.limits import reading, text
from diag.profiles.model import SAMPLES, Frame, Label, Profile
from diag.profiles.transform import aggregate

_PLACED = re.compile(r"(.+) \((.*?)(?::(\d+))?\)", re.DOTALL)  # `work (app/jobs.py:12)`, as py-spy writes it
_AUSTIN = re.compile(r"P(\d+);T(?:(\d+):)?(\w+)((?:;.*)?) (-?\d+(?:,-?\d+)*)")
_METADATA = re.compile(r"# (\w+): (.*)")
_UNSAFE = str.maketrans({";": ",", "\n": " ", "\r": " "})


def read(content: bytes) -> Profile:
    """The profile. Raises BadProfile."""
    with reading("file of collapsed stacks"):
        lines = text(content).split("\n")
        metadata = {found[1]: found[2] for found in map(_METADATA.fullmatch, lines) if found}
        if "austin" in metadata:
            return _read_austin(lines, metadata)
        builder = Builder([SAMPLES])
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                _add(builder, line.rstrip("\r"), number)
        return builder.build(comments=tuple(line for line in lines if line.startswith("#")))


def write(profile: Profile, sample_type: str | None = None) -> bytes:
    """One line a stack and thread, as py-spy writes it, with the values of one sample type; 0 is left out.

    Raises KeyError where there is no such type.
    """
    kept = aggregate(profile)
    column = kept.column(sample_type)
    names = [_frame_text(frame) for frame in kept.frames]
    stacks = [";".join(map(names.__getitem__, reversed(stack))) for stack in kept.stacks]
    heads = [";".join(name.translate(_UNSAFE) for name in tags.written(labels)) for labels in kept.label_sets]
    sums: dict[str, int] = {}
    for stack, labels, value in zip(kept.stack_of, kept.labels_of, kept.values[column], strict=True):
        key = ";".join(part for part in (heads[labels], stacks[stack]) if part)
        sums[key] = sums.get(key, 0) + value
    return "".join(f"{key} {value}\n" for key, value in sums.items() if value).encode("utf-8", "replace")


def _add(builder: Builder, line: str, number: int) -> None:
    stack, _, count = line.rpartition(" ")
    if not re.fullmatch(r"-?\d{1,18}", count):
        raise BadProfile(f"Line {number} does not end with a number.")
    names = stack.split(";") if stack else []
    labels: list[Label] = []
    # Only what stands in front may be a tag: a function may be called `thread` too.
    while names and len(labels) < 4 and (found := tags.parsed(names[0])):
        labels += found
        del names[0]
    frames = tuple(builder.frame(_frame(name)) for name in reversed(names))
    builder.add(builder.stack(frames), [int(count)], builder.labels(labels))


def _frame(name: str) -> Frame:
    found = _PLACED.fullmatch(name)
    if found is None:
        return Frame(name)
    return Frame(found[1], found[2], int(found[3] or 0))


def _frame_text(frame: Frame) -> str:
    name = frame.function or frame.system_name or (f"{frame.address:#x}" if frame.address else "?")
    place = f"{frame.file}:{frame.line}" if frame.line else frame.file
    return (f"{name} ({place})" if place else name).translate(_UNSAFE)


def _read_austin(lines: Iterable[str], metadata: dict[str, str]) -> Profile:
    builder = austin.builder_for(metadata["mode"])
    rounds = austin.Rounds(builder)
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        found = _AUSTIN.fullmatch(line)
        if found is None:
            raise BadProfile(f"Line {number} is none of austin's.")
        pid, _, thread_id, stack, numbers = found.groups()
        metrics, idle = _austin_metrics(metadata["mode"], [int(value) for value in numbers.split(",")])
        names = [name for name in stack.split(";") if name]
        state = "gc" if ":GC:" in names else "idle" if idle else ""
        frames = None
        if ":INVALID:" not in names:
            frames = tuple(builder.frame(_austin_frame(name)) for name in reversed(names) if name != ":GC:")
        rounds.add((int(pid), int(thread_id, 10 if thread_id.isdecimal() else 16)), frames, metrics, state)
    return builder.build(**austin.header(metadata, rounds.invalid))


def _austin_metrics(mode: str, numbers: list[int]) -> tuple[dict[str, int], bool]:
    """(metrics, whether the thread was idle): in full mode the line ends with time, idle, memory."""
    if mode == "full":
        time_us, idle, memory = numbers
        return {"time": time_us, "memory": memory}, bool(idle)
    return {"memory" if mode == "memory" else "time": numbers[0]}, False


def _austin_frame(name: str) -> Frame:
    file, function, line = name.rsplit(":", 2)
    return Frame(function, file, int(line))
