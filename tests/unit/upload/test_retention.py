"""What rules let go: the choice alone, over every kind of store that can be thought of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.config import MIB, RetentionRule
from diag.model import new_capture_id
from diag.upload.retention import choose, matches, reach
from diag.upload.roll import NONE, Entry, Roll, number

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
KINDS, SERVICES, PRINTS = ("crash", "event", "report", "profile"), ("shop", "mail"), ("", "aa", "bb")


def entry(
    age: timedelta = timedelta(days=1), kind: str = "crash", service: str = "shop", mark: str = "", size: int = MIB
) -> Entry:
    """A capture of this age."""
    return Entry(new_capture_id(AT - age), kind, service, number(mark), size)


def roll_of(entries: Sequence[Entry]) -> Roll:
    """The roll of these, newest first."""
    roll = Roll()
    for one in sorted(entries, key=lambda one: one.capture_id, reverse=True):
        roll.add(one)
    return roll


def chosen(
    entries: Sequence[Entry], *rules: RetentionRule, kept: Callable[[Entry], bool] = lambda one: False
) -> list[Entry]:
    """What goes, in order; `kept` says what a pin or a hold keeps."""
    gone: list[Entry] = []
    offered: list[str] = []

    def take(one: Entry, why: str) -> bool:
        assert why
        offered.append(one.capture_id)
        if not kept(one):
            gone.append(one)
        return not kept(one)

    choose(roll_of(entries), rules, AT, take)
    assert len(offered) == len(set(offered))
    return gone


def days(count: float) -> timedelta:
    """So many days."""
    return timedelta(days=count)


# --- each rule ------------------------------------------------------------------------------------------------------


def test_age_lets_go_what_is_older() -> None:
    """The oldest first; what is exactly as old as the rule says stays."""
    old, older, fresh = entry(days(31)), entry(days(300)), entry(days(29))

    assert chosen([fresh, old, older, entry(days(30))], RetentionRule(keep_days=30)) == [older, old]


def test_a_rule_is_about_what_it_names() -> None:
    """Kind, service and fingerprint all have to be the rule's."""
    wanted = entry(days(9), "profile", "shop", "aa")
    others = [entry(days(9), "crash", "shop", "aa"), entry(days(9), "profile", "mail", "aa"), entry(days(9), "profile")]

    rule = RetentionRule("shop", "profile", "aa", keep_days=1)

    assert chosen([wanted, *others], rule) == [wanted]


def test_the_first_rule_that_matches_rules() -> None:
    """A rule before another is an exception from it, in both directions."""
    shop, mail = entry(days(50), service="shop"), entry(days(50), service="mail")

    assert chosen([shop, mail], RetentionRule("shop", keep_days=90), RetentionRule(keep_days=30)) == [mail]
    assert chosen([shop, mail], RetentionRule(keep_days=90), RetentionRule("shop", keep_days=30)) == []


@pytest.mark.parametrize(
    ("most", "stay"),
    [(1, [1, 9]), (2, [1, 9]), (3, [1, 2, 9]), (5, [1, 2, 3, 4, 9]), (9, list(range(1, 10))), (99, list(range(1, 10)))],
)
def test_of_a_fingerprint_first_last_and_newest_stay(most: int, stay: list[int]) -> None:
    """Whatever the number is, the first and the last of nine stay."""
    entries = {age: entry(days(age), mark="aa") for age in range(1, 10)}

    gone = chosen(list(entries.values()), RetentionRule(keep_per_fingerprint=most))

    assert [age for age, one in entries.items() if one not in gone] == stay


def test_fingerprints_are_counted_by_service() -> None:
    """Two services with the same crash do not push each other out, and what has no fingerprint is not counted."""
    entries = [entry(days(age), service=service, mark="aa") for age in (1, 2) for service in SERVICES]

    assert chosen([*entries, *(entry() for _ in range(9))], RetentionRule(keep_per_fingerprint=2)) == []


def test_age_goes_before_number() -> None:
    """What is too old does not count as the first of its fingerprint: another run would find nothing more."""
    entries = [entry(days(age), mark="aa") for age in (100, 50, 40, 30, 10)]

    gone = chosen(entries, RetentionRule(keep_days=90, keep_per_fingerprint=3))

    assert gone == [entries[0], entries[2]]


def test_size_lets_go_the_least_valuable_first() -> None:
    """Others before reports before events before crashes, the oldest of each first, first and last of a kind late."""
    entries = [entry(days(9 - place), kind) for place, kind in enumerate(KINDS)]
    ends = [entry(days(age), "profile", mark="aa") for age in (20, 10)]
    between = entry(days(15), "profile", mark="aa")

    gone = chosen([*entries, *ends, between], RetentionRule(max_size_mb=0))

    assert gone == [between, entries[3], entries[2], entries[1], entries[0], *ends]


def test_size_lets_go_no_more_than_it_has_to() -> None:
    """As soon as the rest fits, it stops."""
    entries = [entry(days(age), size=10) for age in range(1, 6)]

    assert chosen(entries, RetentionRule(max_size_mb=30 / MIB)) == [entries[4], entries[3]]
    assert chosen(entries, RetentionRule(max_size_mb=50 / MIB)) == []


def test_no_rule_is_about_the_last_hour() -> None:
    """What has just come stays whatever a rule says, and how much is too much even so is told."""
    young, old = entry(timedelta(minutes=59)), entry(timedelta(minutes=61))
    gone: list[Entry] = []

    over = choose(roll_of([young, old]), [RetentionRule(max_size_mb=0)], AT, lambda one, why: not gone.append(one))  # type: ignore[func-returns-value]

    assert gone == [old]
    assert over == MIB
    assert chosen([young, old], RetentionRule(keep_days=0)) == [old]
    marked = [entry(timedelta(minutes=minutes), mark="aa") for minutes in (10, 20, 30, 70, 80)]
    assert chosen(marked, RetentionRule(keep_per_fingerprint=1)) == [marked[3]]


def test_size_takes_others_where_one_is_kept() -> None:
    """A pinned or held capture stays, and the next one makes the room."""
    entries = [entry(days(age), size=10) for age in range(1, 6)]

    gone = chosen(entries, RetentionRule(max_size_mb=30 / MIB), kept=lambda one: one == entries[4])

    assert gone == [entries[3], entries[2]]


def test_only_what_rules_can_be_about_is_read() -> None:
    """Where only age counts, what is younger than every rule is not read at all."""
    assert reach([RetentionRule(keep_days=30), RetentionRule("shop", keep_days=7)], AT) == AT - days(7)
    assert reach([RetentionRule(keep_days=1e9)], AT) == datetime.fromtimestamp(0, UTC)
    assert reach([RetentionRule(keep_days=30), RetentionRule(max_size_mb=1)], AT) is None
    assert reach([RetentionRule(keep_days=30, keep_per_fingerprint=2)], AT) is None


# --- all of them ----------------------------------------------------------------------------------------------------

ENTRIES = st.lists(
    st.builds(
        entry,
        st.integers(0, 60 * 24 * 10).map(lambda minutes: timedelta(minutes=minutes)),
        st.sampled_from(KINDS),
        st.sampled_from(SERVICES),
        st.sampled_from(PRINTS),
        st.integers(1, 3).map(lambda size: size * MIB),
    ),
    max_size=30,
)
LIMITS = st.tuples(st.none() | st.integers(0, 10), st.none() | st.integers(1, 4), st.none() | st.integers(0, 20))
RULES = st.lists(
    st.builds(
        lambda who, limits: RetentionRule(*who, *limits),
        st.tuples(st.sampled_from(("", *SERVICES)), st.sampled_from(("", *KINDS)), st.sampled_from(PRINTS)),
        LIMITS.filter(lambda limits: any(one is not None for one in limits)),
    ),
    min_size=1,
    max_size=4,
)
KEPT = st.sets(st.integers(0, 29))


@given(ENTRIES, RULES, KEPT)
def test_what_is_kept_never_goes_and_a_second_run_finds_nothing(
    entries: list[Entry], rules: list[RetentionRule], places: set[int]
) -> None:
    """Pins and holds win over every rule; and a run leaves nothing that the same rules would let go."""
    kept = {one.capture_id for place, one in enumerate(entries) if place in places}

    gone = chosen(entries, *rules, kept=lambda one: one.capture_id in kept)
    left = [one for one in entries if one not in gone]

    assert kept.isdisjoint(one.capture_id for one in gone)
    assert chosen(left, *rules, kept=lambda one: one.capture_id in kept) == []


@given(ENTRIES, RULES)
def test_nothing_goes_that_no_rule_is_about(entries: list[Entry], rules: list[RetentionRule]) -> None:
    """Each that goes is matched by a rule, and is older than an hour."""
    for one in chosen(entries, *rules):
        assert any(matches(rule, one) for rule in rules)
        assert one.made_s <= AT.timestamp() - 3600


@given(ENTRIES, st.integers(1, 4))
def test_of_each_fingerprint_first_and_last_stay(entries: list[Entry], most: int) -> None:
    """By number, nothing takes the first or the last, and never more go than have to."""
    gone = chosen(entries, RetentionRule(keep_per_fingerprint=most))

    groups = defaultdict(list)
    for one in sorted(entries, key=lambda one: one.capture_id):
        if one.fingerprint != NONE:
            groups[one.service, one.fingerprint].append(one)
    for group in groups.values():
        assert group[0] not in gone and group[-1] not in gone
        young = sum(one.made_s > AT.timestamp() - 3600 for one in group)
        least = min(len(group), max(2, most))
        assert least <= sum(one not in gone for one in group) <= max(least, young + 1)
    assert all(one.fingerprint != NONE for one in gone)


@given(ENTRIES, st.integers(0, 60))
def test_size_is_kept_or_everything_old_has_gone(entries: list[Entry], limit: int) -> None:
    """After it the rest fits, or nothing is left that could go."""
    gone = chosen(entries, RetentionRule(max_size_mb=limit))

    left = [one for one in entries if one not in gone]
    fits = sum(one.size_bytes for one in left) <= limit * MIB
    assert fits or all(one.made_s > AT.timestamp() - 3600 for one in left)


@given(ENTRIES)
def test_the_roll_gives_back_what_it_took(entries: list[Entry]) -> None:
    """Packed and unpacked, an entry is the same."""
    roll = Roll()
    for one in entries:
        roll.add(one)

    assert [roll[index] for index in range(len(roll))] == entries
