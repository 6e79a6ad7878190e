"""When memory is measured and when the last look is taken, with a group of version 2 made of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from deaths import instance

from diag.agent.memory_watch import FASTEST_S, KEPT, SLOWEST_S, Group
from diag.collectors.cgroup import Bound
from diag.collectors.collector import Subject

PID = 4711


@pytest.fixture
def group(tmp_path: Path) -> Group:
    """A group of 1000 bytes with one process, whose mark is at 900."""
    return Group(Bound(2, tmp_path, 1000), 900, can_notify=False, members={PID: Subject(instance(), PID, 1, "")})


def uses(group: Group, used: int, at_s: float | None = None) -> None:
    """Measure it with so much in use; `at_s` moves the clock of the measure before."""
    (group.bound.folder / "memory.current").write_text(f"{used}\n")
    if at_s is not None:
        moment, size = group.last
        group.last = moment - at_s, size
    assert group.measure()


def test_the_look_is_taken_at_the_mark_and_seldom(group: Group) -> None:
    """Once at the mark; again only after a minute, and where more is in use than then."""
    uses(group, 899)
    assert not group.due
    uses(group, 900)
    assert group.due
    group.looked = group.last
    uses(group, 950)
    assert not group.due
    group.looked = group.looked[0] - 61, 950
    assert not group.due
    uses(group, 951)
    assert group.due


def test_it_is_measured_as_often_as_it_grows(group: Group) -> None:
    """Seldom while nothing grows, at once where the limit is near, never where the kernel notifies far from it."""
    uses(group, 450)
    assert group.patience_s == SLOWEST_S / 2
    uses(group, 455, at_s=1.0)
    assert group.patience_s == pytest.approx(SLOWEST_S / 2, rel=0.1)
    uses(group, 890, at_s=1.0)
    assert group.patience_s == FASTEST_S
    uses(group, 880, at_s=1.0)
    assert group.patience_s == SLOWEST_S / 10
    group.can_notify = True
    uses(group, 880)
    assert group.patience_s == SLOWEST_S / 10
    uses(group, 700)
    assert group.patience_s is None


def test_files_that_fill_the_group_wake_it(group: Group) -> None:
    """The kernel notifies of its own count, which passes nothing any more where files fill the group up."""
    group.can_notify = True
    (group.bound.folder / "memory.stat").write_text("inactive_file 550\n")

    uses(group, 1000)

    assert group.last[1] == 450
    assert not group.due
    assert group.patience_s == SLOWEST_S / 2


def test_what_is_told_ends_with_the_most(group: Group) -> None:
    """The samples show the growth, few of a plateau, and not what the ending process gave back."""
    for used in (100, *[300] * 50, 950, 20):
        uses(group, used)

    look = group.told(PID)

    assert [used for _, used in look.samples] == [100, 300, 300, 950]
    assert (look.used, look.limit, look.mappings) == (950, 1000, ())
    assert [missing.section for missing in look.missing] == ["lastLook"]


def test_the_samples_are_bounded(group: Group) -> None:
    """The first one stays, and so do the newest."""
    for used in range(0, 5 * KEPT, 11):
        uses(group, used)
    assert [used for _, used in group.samples] == list(range(0, 5 * KEPT, 11))

    for used in range(0, 100 * KEPT, 11):
        uses(group, used)

    assert len(group.samples) == KEPT + 1
    assert (group.samples[0][1], group.samples[-1][1]) == (0, 9999 // 11 * 11)


def test_a_group_that_is_gone_is_not_measured(group: Group) -> None:
    """A group can be removed when nobody is in it any more."""
    uses(group, 1)
    (group.bound.folder / "memory.current").unlink()

    assert not group.measure()
