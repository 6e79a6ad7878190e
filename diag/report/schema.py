"""The published JSON Schema (2020-12) of the report."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

_KINDS = {"object": dict, "array": list, "string": str}


def load_schema() -> dict[str, Any]:
    """The schema as JSON values; every report that `assemble` returns validates against it."""
    return dict(json.loads(files("diag.report").joinpath("schema.json").read_text("utf-8")))


def mistake(value: Any) -> str | None:
    """Why this JSON value is no report, in words, or None where it looks like one.

    Looks at the outermost level only: whether all sections are there, each of the right kind.
    """
    schema = load_schema()
    header = value.get("header") if isinstance(value, dict) else None
    if not isinstance(header, dict):
        return "it has no `header`"
    if "javascriptStack" in value:
        return "it is Node's own"
    if header.get("reportVersion") != schema["$defs"]["header"]["properties"]["reportVersion"]["const"]:
        return f"its `reportVersion` is {header.get('reportVersion')!r}"
    for name in schema["required"]:
        if name not in value:
            return f"it has no `{name}`"
        kind = _KINDS.get(schema["properties"][name].get("type"))
        if kind is not None and not isinstance(value[name], kind):
            return f"its `{name}` is no {schema['properties'][name]['type']}"
    return None
