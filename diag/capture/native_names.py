"""Names and build ids for native frames that the profiler itself did not name."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

from diag.evidence import Mapped
from diag.profiles.model import Frame, Profile
from diag.profiles.transform import merge
from diag.report import elf

_EVERYWHERE = 1 << 62
_MADE_AT_RUN_TIME = re.compile(r"//anon|\[anon\]|.*/perf-\d+\.map")


def named(profile: Profile, root: str) -> Profile:
    """The profile, whose frames without a function are named by the symbols of their file, or by file and offset.

    perf counts a frame's address from the start of its file. `root` is where the process's files are found; a process
    that has ended has none any more, and its frames keep the offset.
    """
    unknown: dict[str, set[int]] = defaultdict(set)
    for frame in profile.frames:
        if not frame.function and frame.mapping:
            unknown[frame.mapping.file].add(frame.address)
    found = {(file, address): name for file in unknown for address, name in _names(file, unknown[file], root).items()}
    built = {mapping: replace(mapping, build_id=elf.build_id(mapping.file, root) or "") for mapping in profile.mappings}

    def better(frame: Frame) -> Frame:
        if frame.mapping is None:
            return frame if frame.function else replace(frame, function=f"{frame.address:#x}")
        name = frame.function or found[frame.mapping.file, frame.address]
        return replace(frame, function=name, mapping=built.get(frame.mapping, frame.mapping))

    frames = tuple(map(better, profile.frames))
    # Frames that differed by nothing but what was unknown may be equal now: built anew, so that they are one.
    return merge([replace(profile, frames=frames, mappings=tuple(built.values()))])


def _names(file: str, addresses: set[int], root: str) -> dict[int, str]:
    if _MADE_AT_RUN_TIME.fullmatch(file):
        return dict.fromkeys(addresses, "[compiled at run time]")
    whole = [Mapped(0, _EVERYWHERE, "r-xp", 0, 0, file)]
    symbols = elf.Symbolizer(whole, root).resolve_all(addresses)
    return {at: symbols[at].name if at in symbols else f"{file.rpartition('/')[2]}+{at:#x}" for at in addresses}
