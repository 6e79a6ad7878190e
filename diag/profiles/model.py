"""The profile in memory: one shape for CPU time, wall time and memory, whichever tool took it.

Tables of what repeats (frames, stacks, label sets), and columns with one entry a sample. What holds of every profile:

- A stack is a tuple of indices into `frames`, innermost first, as in the report. No two stacks are equal, no two frames
  and no two label sets either; `label_sets[0]` is the empty one. A stack may be empty: nothing was seen of it.
- All columns are equally long, and there is one column of values for each sample type. Values are whole numbers in the
  type's unit: 64 bits, signed.
- A sample that was lost or came out invalid is counted in `recording` and is never a stack.
- Nothing is changed once it is built: a change makes a new profile, which may share tables and columns with the old.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from diag.model import Cost

NO_TIME = -(1 << 63)  # in `times`: this sample's moment is not known
# Labels that readers set and pages know; any other name is kept as it is.
PID, PROCESS, THREAD_ID, THREAD = "pid", "process", "thread_id", "thread"
REQUEST_ID, TRACE_ID, STATE = "request_id", "trace_id", "state"
Stack = tuple[int, ...]


class SampleType(NamedTuple):
    """What a column of values counts: `("cpu", "nanoseconds")`, `("inuse_space", "bytes")`, `("samples", "count")`."""

    name: str
    unit: str


class Label(NamedTuple):
    """One tag of a sample. A number may have a unit; a text is never empty."""

    key: str
    value: str | int
    unit: str = ""


Labels = tuple[Label, ...]
NO_LABELS: Labels = ()
SAMPLES = SampleType("samples", "count")
IDLE, COLLECTING = Label(STATE, "idle"), Label(STATE, "gc")


@dataclass(frozen=True, slots=True)
class Mapping:
    """A file that was mapped into the process; the `has_` fields say how far its symbols were resolved, as in pprof."""

    start: int = 0
    limit: int = 0
    offset: int = 0
    file: str = ""
    build_id: str = ""
    has_functions: bool = False
    has_filenames: bool = False
    has_line_numbers: bool = False
    has_inline_frames: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a stack. Zero and the empty text mean unknown.

    `inlined`: the compiler put this function into the next outer frame, whose address it shares. `folded`: other
    functions have the same address. Language, module and whether it is the application's follow from the rest:
    see `diag.profiles.places`.
    """

    function: str
    file: str = ""
    line: int = 0
    column: int = 0
    system_name: str = ""
    start_line: int = 0
    address: int = 0
    mapping: Mapping | None = None
    inlined: bool = False
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """How the samples were taken. `lost` were never read; `invalid` were read, and did not make sense."""

    engine: str = ""
    version: str = ""
    mode: str = ""
    rate_hz: float = 0.0
    lost: int = 0
    invalid: int = 0
    cost: Cost = Cost()


@dataclass(frozen=True, slots=True)
class Profile:
    """All samples of one recording, or of several that were merged. `times` are nanoseconds after `start_ns`.

    `start_ns` counts from 1970 in UTC, 0 where it is not known. `period` is the distance of two samples in the unit
    of `period_type`. `mappings` holds the main program first, and also files that no frame lies in.
    """

    sample_types: tuple[SampleType, ...]
    frames: tuple[Frame, ...]
    stacks: tuple[Stack, ...]
    label_sets: tuple[Labels, ...]
    stack_of: array[int]
    labels_of: array[int]
    values: tuple[array[int], ...]
    times: array[int] | None = None
    mappings: tuple[Mapping, ...] = ()
    recording: Recording = field(default_factory=Recording)
    start_ns: int = 0
    duration_ns: int = 0
    period_type: SampleType | None = None
    period: int = 0
    default_type: str = ""
    comments: tuple[str, ...] = ()
    drop_frames: str = ""
    keep_frames: str = ""
    doc_url: str = ""

    def __len__(self) -> int:
        """How many samples there are; where equal ones were added up, one counts once."""
        return len(self.stack_of)

    def column(self, name: str | None = None) -> int:
        """The index of the sample type with this name, or of the one that is shown first. Raises KeyError."""
        wanted = name or self.default_type
        for index, kind in enumerate(self.sample_types):
            if kind.name == wanted:
                return index
        if name:
            raise KeyError(name)
        return len(self.sample_types) - 1  # pprof shows the last one where nothing else is said

    def total(self, column: int) -> int:
        """The sum of one column of values."""
        return sum(self.values[column])

    def frames_of(self, sample: int) -> Iterator[Frame]:
        """The frames of one sample, innermost first."""
        return (self.frames[index] for index in self.stacks[self.stack_of[sample]])


def label(labels: Labels, key: str) -> str | int | None:
    """The value of the first label with this key."""
    return next((one.value for one in labels if one.key == key), None)
