"""Checks that a report is what the schema promises; for every test that makes one."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from diag.report.schema import load_schema


@cache
def _validator() -> Draft202012Validator:
    schema = load_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def validate(report: dict[str, Any]) -> dict[str, Any]:
    """The report, after asserting that it is JSON and fits the schema; says where it does not."""
    plain = json.loads(json.dumps(report, allow_nan=False))
    mistakes = [f"{'/'.join(map(str, error.path))}: {error.message[:300]}" for error in _validator().iter_errors(plain)]
    assert not mistakes, "\n".join(mistakes)
    return report
