"""The page about the report says what the report is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from diag.report.causes.shape import Cause
from diag.report.schema import load_schema

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "report.md").read_text()


def test_every_key_is_documented() -> None:
    """Each key of the schema's outermost level stands in the table."""
    table = PAGE[PAGE.index("## Keys") : PAGE.index("## Causes")]
    first_cells = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(load_schema()["properties"])


def test_every_cause_is_documented() -> None:
    """The causes that verdicts can give, those of the schema and those of the table are the same."""
    causes = PAGE[PAGE.index("## Causes") : PAGE.index("## Example")]
    cells = "".join(line.split("|")[1] for line in causes.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([a-z-]+)`", cells)) == set(get_args(Cause))
    assert load_schema()["properties"]["verdict"]["properties"]["cause"]["enum"] == list(get_args(Cause))


def test_the_example_follows_the_schema() -> None:
    """What the example shows has the keys and types of a report."""
    example = json.loads(PAGE.split("```json\n")[1].split("```")[0])
    schema = load_schema()
    assert set(example) <= set(schema["properties"])
    frame = schema["$defs"]["frame"]
    for shown in example["threads"][0]["frames"]:
        assert set(frame["required"]) <= set(shown) <= set(frame["properties"])
    assert set(example["header"]) <= set(schema["$defs"]["header"]["properties"])
