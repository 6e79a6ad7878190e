"""The published JSON Schema (2020-12) of the report."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def load_schema() -> dict[str, Any]:
    """The schema as JSON values; every report that `assemble` returns validates against it."""
    return dict(json.loads(files("diag.report").joinpath("schema.json").read_text("utf-8")))
