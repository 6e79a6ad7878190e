"""What grew between two heaps: as columns beside what is in use, so that one profile tells both."""

from __future__ import annotations

from array import array
from dataclasses import replace

from diag.profiles.model import Profile, SampleType
from diag.profiles.transform import aggregate, merge

IN_USE, GROWN = "inuse_", "growth_"


def grown(base: Profile, new: Profile) -> Profile:
    """The new heap, with `growth_objects` and `growth_space` beside `inuse_objects` and `inuse_space`.

    A stack that is in the base only has what it gave back as negative growth.
    """
    before = _only_growth(base)
    after = replace(
        new,
        sample_types=(*new.sample_types, *(_named(new.sample_types[column]) for column in _in_use(new))),
        values=(*new.values, *(new.values[column] for column in _in_use(new))),
    )
    whole = merge([after, before])
    return replace(aggregate(whole), recording=new.recording, start_ns=base.start_ns)


def _only_growth(base: Profile) -> Profile:
    columns = _in_use(base)
    return replace(
        base,
        sample_types=tuple(_named(base.sample_types[column]) for column in columns),
        values=tuple(array("q", [-value for value in base.values[column]]) for column in columns),
    )


def _in_use(profile: Profile) -> list[int]:
    return [index for index, kind in enumerate(profile.sample_types) if kind.name.startswith(IN_USE)]


def _named(kind: SampleType) -> SampleType:
    return SampleType(GROWN + kind.name.removeprefix(IN_USE), kind.unit)
