"""A census as a table, whatever the process says."""

from __future__ import annotations

from typing import Any

import pytest

from diag.collectors import questions
from diag.collectors.objects import types

SUMS = {"objects": 5, "bytes": 500, "frozen": 0, "cut": "", "left": 0, "largest": [("builtins", "dict", 300, 7)]}


def count(*rows: tuple[str, str, int, int], **changes: Any) -> dict[str, Any]:
    """What the probe answers."""
    return {**SUMS, "rows": list(rows), **changes}


def test_growth_between_two() -> None:
    """What is new, what grew, what is gone, and two types of one name as one."""
    before = count(("builtins", "dict", 2, 100), ("shop", "Gone", 1, 50))
    after = count(("shop", "Order", 3, 200), ("builtins", "dict", 3, 150), ("shop", "Order", 1, 10))

    table = types([before, after])

    assert [(row["name"], row["count"], row["bytes"], row["growth"]) for row in table["rows"]] == [
        ("shop.Order", 4, 210, {"count": 4, "bytes": 210}),
        ("dict", 3, 150, {"count": 1, "bytes": 50}),
        ("shop.Gone", 0, 0, {"count": -1, "bytes": -50}),
    ]
    assert table["largest"] == [{"name": "dict", "bytes": 300, "length": 7}]


def test_no_growth_where_one_was_cut() -> None:
    """Two counts of which one is not whole say nothing of growth; what was left is told."""
    table = types([count(cut="seconds", left=1234), count(("builtins", "dict", 3, 150))])

    assert "1,234 containers" in table["cut"]
    assert "growth" not in table
    assert "growth" not in table["rows"][0]


@pytest.mark.parametrize(
    "answer", [None, {}, [], count((1, 2)), {**SUMS, "rows": 7}, count(("a", "b", "c", "d")), count(objects=None)]
)
def test_an_answer_that_makes_no_sense(answer: Any) -> None:
    """It is refused with a sentence."""
    with pytest.raises(questions.NotAnswered, match="makes no sense"):
        with questions.making_sense("objects"):
            types([answer])
