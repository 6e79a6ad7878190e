"""What the rules let go: a choice over the roll, without a store, the same in a dry run and in a real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from diag.config import MIB, RetentionRule
from diag.spool.order import rank
from diag.upload.roll import Entry, Roll, number

DAY_S = 86400.0
YOUNG_S = 3600.0  # no rule is about what is younger: it is just being delivered, or looked at

# Hears of a capture that should go, and why. Tells whether it goes: a pin or a hold may keep it.
Take = Callable[[Entry, str], bool]
_Group = tuple[RetentionRule, str, int]  # what a number is counted in: rule, service, fingerprint


def matches(rule: RetentionRule, entry: Entry) -> bool:
    """Whether the rule is about this capture."""
    return (
        rule.service in ("", entry.service)
        and rule.kind in ("", entry.kind)
        and (not rule.fingerprint or number(rule.fingerprint) == entry.fingerprint)
    )


def reach(rules: Sequence[RetentionRule], at: datetime) -> datetime | None:
    """The youngest moment that the rules can be about; None where they are about everything."""
    if any(rule.keep_per_fingerprint is not None or rule.max_size_mb is not None for rule in rules):
        return None
    days = min(rule.keep_days for rule in rules if rule.keep_days is not None)
    return datetime.fromtimestamp(max(0.0, at.timestamp() - days * DAY_S), UTC)


def choose(roll: Roll, rules: Sequence[RetentionRule], at: datetime, take: Take) -> int:
    """Offer to `take` what the rules let go, each capture once; returns by how many bytes the sizes are still exceeded.

    Age comes first, then the number of each fingerprint among what is left, then size. By age and number a capture is
    ruled by the first rule that matches it and says something of either; a size is a budget for all that it matches.
    """
    choice = _Choice(roll, at.timestamp(), take)
    ruling = [rule for rule in rules if rule.keep_days is not None or rule.keep_per_fingerprint is not None]
    if ruling:
        choice.by_age(ruling)
        choice.by_number(ruling)
    return sum(choice.by_size(rule) for rule in rules if rule.max_size_mb is not None)


class _Choice:
    def __init__(self, roll: Roll, at_s: float, take: Take) -> None:
        self._roll, self._at_s, self._take = roll, at_s, take
        self._gone, self._asked = bytearray(len(roll)), bytearray(len(roll))

    def by_age(self, ruling: Sequence[RetentionRule]) -> None:
        """Let go what is too old, the oldest first."""
        for index in reversed(range(len(self._roll))):
            entry = self._roll[index]
            rule = _first(ruling, entry)
            if rule and rule.keep_days is not None and entry.made_s < self._at_s - rule.keep_days * DAY_S:
                self._offer(index, entry, f"older than {_days(rule.keep_days)}")

    def by_number(self, ruling: Sequence[RetentionRule]) -> None:
        """Keep the last and the first of each fingerprint in a service, and the newest up to the number."""
        total = Counter(group for _, _, group in self._ruled_by_number(ruling))
        seen: Counter[_Group] = Counter()
        for index, entry, group in self._ruled_by_number(ruling):
            place, most = seen[group], group[0].keep_per_fingerprint or 0
            seen[group] += 1
            if max(1, most - 1) <= place < total[group] - 1:
                self._offer(index, entry, f"more than {most} of its fingerprint")

    def by_size(self, rule: RetentionRule) -> int:
        """Let go until the budget holds, the least valuable first; returns by how many bytes it still does not."""
        limit = int((rule.max_size_mb or 0) * MIB)
        members = [index for index, entry in self._left() if matches(rule, entry)]
        total = sum(self._roll[index].size_bytes for index in members)
        if total <= limit:
            return 0
        ends = self._ends(members)
        for index in sorted(members, key=lambda index: (index in ends, -rank(self._roll[index].kind), -index)):
            if total <= limit:
                break
            entry = self._roll[index]
            if self._offer(index, entry, f"more than {rule.max_size_mb:g} MiB"):
                total -= entry.size_bytes
        return max(0, total - limit)

    def _ruled_by_number(self, ruling: Sequence[RetentionRule]) -> Iterator[tuple[int, Entry, _Group]]:
        for index, entry in self._left():
            rule = _first(ruling, entry) if entry.fingerprint else None
            if rule and rule.keep_per_fingerprint is not None:
                yield index, entry, (rule, entry.service, entry.fingerprint)

    def _ends(self, members: Sequence[int]) -> set[int]:
        """The first and the last of each fingerprint in a service."""
        first: dict[tuple[str, int], int] = {}
        last: dict[tuple[str, int], int] = {}
        for index in members:
            entry = self._roll[index]
            if entry.fingerprint:
                first[entry.service, entry.fingerprint] = index
                last.setdefault((entry.service, entry.fingerprint), index)
        return {*first.values(), *last.values()}

    def _left(self) -> Iterator[tuple[int, Entry]]:
        for index in range(len(self._roll)):
            if not self._gone[index]:
                yield index, self._roll[index]

    def _offer(self, index: int, entry: Entry, why: str) -> bool:
        if not self._asked[index] and entry.made_s <= self._at_s - YOUNG_S:
            self._asked[index] = 1
            self._gone[index] = self._take(entry, why)
        return bool(self._gone[index])


def _first(ruling: Sequence[RetentionRule], entry: Entry) -> RetentionRule | None:
    return next((rule for rule in ruling if matches(rule, entry)), None)


def _days(days: float) -> str:
    return f"{days:g} day" + ("" if days == 1 else "s")
