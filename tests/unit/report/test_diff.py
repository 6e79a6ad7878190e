"""What differs between two reports."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.report.factory import crashed, made, raised

from diag.report.diff import SECTIONS, Difference, differences

CRASH = made(crashed(11, address=0, trapno=14))
RAISED = made(raised())
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
KEYS = sorted(CRASH)


def by_name(found: list[Difference]) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    """(before, after) by section and name."""
    return {(one.section, one.name): (one.before, one.after) for one in found}


def test_a_report_equals_itself() -> None:
    """The same report has no difference."""
    assert differences(CRASH, json.loads(json.dumps(CRASH))) == []


def test_what_tells_most_comes_first() -> None:
    """Verdict, then exception, then signal, threads and the rest, in one order of sections."""
    found = differences(RAISED, CRASH)

    order = [list(SECTIONS).index(one.section) for one in found]
    assert order == sorted(order) and found[0].section == "Verdict"
    rows = by_name(found)
    assert rows["Exception", "type"] == (RAISED["exception"]["type"], None)
    assert rows["Signal", "name"] == (None, "SIGSEGV")


def test_each_section_sees_its_values() -> None:
    """A changed limit, variable, thread, figure and module are each one row with both values."""
    other = json.loads(json.dumps(CRASH))
    other["environmentVariables"]["NEW"] = "1"
    other["userLimits"]["open_files"]["soft"] = 7
    other["threads"][0]["state"] = "zombie"
    other["resourceUsage"]["rss"] = (CRASH["resourceUsage"]["rss"] or 1) * 2
    other["modules"] = [{"path": "/lib/new.so", "buildId": "ab"}]

    rows = by_name(differences(CRASH, other))

    assert rows["Environment", "NEW"] == (None, "1")
    assert rows["Limits", "open_files.soft"] == ("1024", "7")
    assert any(key[0] == "Threads" and after == "zombie" for key, (_, after) in rows.items())
    assert ("Memory, CPU, descriptors", "rss") in rows
    assert rows["Modules", "/lib/new.so"] == (None, "ab")


def test_numbers_are_ranked_by_how_much_they_differ() -> None:
    """The largest share of change comes first, and noise is left out."""
    before = {"resourceUsage": {"a": 100, "b": 100, "c": 1000}}
    after = {"resourceUsage": {"a": 90, "b": 10, "c": 1001}}

    assert [(one.name, one.weight) for one in differences(before, after)] == [("b", 0.9), ("a", 0.1)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_json_can_be_compared(before: dict[str, Any], after: dict[str, Any]) -> None:
    """What is no report in its inside still gives rows of text, and can be printed as JSON."""
    json.dumps([one.to_json() for one in differences(before, after)])


@pytest.mark.parametrize(
    "huge", [{"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}, {str(n): n for n in range(9999)}]
)
def test_size_is_bounded(huge: dict[str, Any]) -> None:
    """Deep and wide objects end at a limit."""
    assert len(differences({}, {"resourceUsage": huge})) <= 5000
