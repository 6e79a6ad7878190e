"""The report in one line of a log, for the case that nothing else is left to write it to."""

from __future__ import annotations

import json
from typing import Any

from diag.model import Capture
from diag.report.reading import Json, telling_frames

PREFIX = "diag-capture: "
LIMIT_BYTES = 16 * 1024
_CUTS = ((2000, 32), (400, 16), (120, 8), (40, 3))  # longest text, longest list: what fits into the limit is taken


def one_line(capture: Capture, report: Json) -> bytes:
    """The manifest and the essence of the report: how it ended, the exception, the innermost frames. With a newline."""
    line = b""
    for longest_text, longest_list in _CUTS:
        line = _encode(_cut(_essence(capture, report), longest_text, longest_list))
        if len(line) <= LIMIT_BYTES:
            return line
    return _encode({"capture_id": capture.capture_id, "kind": capture.kind, "title": capture.title[:200]})


def _essence(capture: Capture, report: Json) -> dict[str, Any]:
    manifest = capture.to_json()
    del manifest["artifacts"]  # they are what could not be kept
    exception = report.get("exception")
    return {
        **manifest,
        "exit": report.get("exit"),
        "signal": report.get("signal"),
        "exception": exception and {name: exception.get(name) for name in ("type", "module", "message")},
        "frames": [
            {name: frame.get(name) for name in ("function", "file", "line")} for frame in telling_frames(report)
        ],
    }


def _cut(value: Any, longest_text: int, longest_list: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest_text else value[:longest_text] + "…"
    if isinstance(value, list | tuple):
        return [_cut(one, longest_text, longest_list) for one in value[:longest_list]]
    if isinstance(value, dict):
        # The keys of a manifest are few; labels, registers and the like may be many.
        few = list(value.items())[: longest_list * 8]
        return {key[:longest_text]: _cut(one, longest_text, longest_list) for key, one in few}
    return value


def _encode(value: dict[str, Any]) -> bytes:
    return f"{PREFIX}{json.dumps(value)}\n".encode("ascii", "backslashreplace")
