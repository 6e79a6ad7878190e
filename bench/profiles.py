"""What a large profile costs to write, read and sum up, beside the protobuf library and Go's own pprof."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from measure import Table, at_most

from diag.profiles import pprof_read, pprof_write, speedscope_read, speedscope_write
from diag.profiles.builder import Builder
from diag.profiles.limits import unpacked
from diag.profiles.model import PID, THREAD, THREAD_ID, Frame, Label, Profile, SampleType
from diag.profiles.summary import summary
from diag.profiles.transform import aggregate

SAMPLES, STACKS, FRAMES = 1_000_000, 200_000, 20_000
BUDGETS_S = {"write pprof": 2.0, "read pprof": 3.0, "write speedscope": 3.0}


def measure(*, quick: bool) -> list[Table]:
    """One profile, every step on it; CPU seconds of this process, because the machine is shared."""
    share = 10 if quick else 1
    one = large(SAMPLES // share, STACKS // share)
    rows: list[tuple[str, ...]] = []
    written = _step(rows, "write pprof", lambda: pprof_write.write(one), share)
    _step(rows, "read pprof", lambda: pprof_read.read(written), share)
    _protobuf(rows, written)
    timed = replace(one, times=one.values[0])
    with_moments = _step(rows, "write pprof, each with its moment", lambda: pprof_write.write(timed), share)
    _step(rows, "read pprof, each with its moment", lambda: pprof_read.read(with_moments), share)
    small = _step(rows, "add equal samples up", lambda: aggregate(one), share)
    speedscope = _step(rows, "write speedscope", lambda: speedscope_write.write(one), share)
    _step(rows, "read speedscope", lambda: speedscope_read.read(speedscope), share)
    _step(rows, "summary", lambda: summary(one), share)
    _go(rows, {"go tool pprof -top": written, "the same, added up": pprof_write.write(small)})
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    depth = sum(map(len, one.stacks)) / len(one.stacks)
    notes = [
        f"{len(one):,} samples, {len(one.stacks):,} stacks, {depth:.0f} frames deep on average; {FRAMES:,} frames.",
        f"MB: what is written or read. The largest size of this process was {peak_mb:.0f} MB.",
    ]
    return [Table("A large profile", ("", "CPU s", "MB", "budget"), rows, notes)]


def large(samples: int, stacks: int) -> Profile:
    """A tree of callers with that many different stacks, on eight threads; the same one in every run."""
    chance = random.Random(1)
    builder = Builder([SampleType("cpu", "nanoseconds")])
    frames = [builder.frame(Frame(f"function_{n}", f"/srv/module_{n % 500}.py", n % 900 + 1)) for n in range(FRAMES)]
    thread_of = [
        builder.labels([Label(PID, 1), Label(THREAD_ID, number), Label(THREAD, f"worker {number}")])
        for number in range(8)
    ]
    paths = [(0,)]
    while len(paths) < stacks:
        outer = chance.choice(paths[-5000:])
        if len(outer) > 40:  # back to somewhere near the root
            outer = outer[-chance.randrange(5, 30) :]
        paths.append((chance.choice(frames), *outer))
    numbers = [builder.stack(path) for path in dict.fromkeys(paths)]
    order = [*numbers, *chance.choices(numbers, k=samples - len(numbers))]
    builder.extend(order, [thread_of[stack % 8] for stack in order], [[10_000_000] * len(order)])
    return builder.build()


def _step(rows: list[tuple[str, ...]], name: str, work: Callable[[], Any], share: int) -> Any:
    began = time.process_time()
    result = work()
    took = time.process_time() - began
    size = f"{len(result) / 1e6:.1f}" if isinstance(result, bytes) else ""
    budget = BUDGETS_S.get(name)
    rows.append((name, f"{took:.2f}", size, at_most(took, budget / share, "s") if budget else ""))
    return result


def _protobuf(rows: list[tuple[str, ...]], written: bytes) -> None:
    """The same file, parsed and written by the protobuf library, which is C; left out where it is not installed."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        return
    file = descriptor_pb2.FileDescriptorProto(name="profile.proto", package="p", syntax="proto3")
    for name, fields in PROTO.items():
        described = file.message_type.add(name=name)
        for number, (field, kind, repeated) in fields.items():
            one = described.field.add(name=field, number=number, label=3 if repeated else 1)
            one.type = {"int": 3, "uint": 4, "text": 9}.get(kind, 11)
            if one.type == 11:
                one.type_name = f".p.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("p.Profile"))()
    _step(rows, "protobuf library, read into messages", lambda: message.ParseFromString(unpacked(written)), 1)
    _step(rows, "protobuf library, written from messages", message.SerializeToString, 1)


# The part of profile.proto that a large file consists of.
PROTO: dict[str, dict[int, tuple[str, str, bool]]] = {
    "Label": {1: ("key", "int", False), 2: ("str", "int", False), 3: ("num", "int", False)},
    "Sample": {1: ("location_id", "uint", True), 2: ("value", "int", True), 3: ("label", "Label", True)},
    "Line": {1: ("function_id", "uint", False), 2: ("line", "int", False)},
    "Location": {1: ("id", "uint", False), 4: ("line", "Line", True)},
    "Function": {1: ("id", "uint", False), 2: ("name", "int", False), 4: ("filename", "int", False)},
    "Profile": {
        2: ("sample", "Sample", True),
        4: ("location", "Location", True),
        5: ("function", "Function", True),
        6: ("string_table", "text", True),
    },
}


def _go(rows: list[tuple[str, ...]], files: dict[str, bytes]) -> None:
    go = shutil.which("go")
    if go is None:
        return
    with tempfile.TemporaryDirectory(prefix="db-") as folder:
        for name, content in files.items():
            path = Path(folder) / "one.pb.gz"
            path.write_bytes(content)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([go, "tool", "pprof", "-top", str(path)], check=True, capture_output=True, timeout=300)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            rows.append((name, f"{used:.2f}", f"{len(content) / 1e6:.1f}", ""))
