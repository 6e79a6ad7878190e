"""What a thread of a report or of a document of stacks does, in words, and whether somebody keeps it from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from diag.evidence import FROZEN, STOPPED
from diag.report import loose


def doing(thread: Mapping[str, Any]) -> str:
    """Who keeps it from running; what it waits for, or else what it was seen doing."""
    state, what = loose.text(thread.get("state")), loose.text(loose.mapping(thread.get("waiting")).get("what"))
    if state in (STOPPED, FROZEN):
        return f"{state}; {what}" if what else state
    return what or state


def standing(threads: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How many of these threads are stopped, and how many frozen."""
    states = (loose.text(thread.get("state")) for thread in threads)
    return Counter(state for state in states if state in (STOPPED, FROZEN))
