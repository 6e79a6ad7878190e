"""The shape of an SQL statement: what it does, without the values in it."""

from __future__ import annotations

import re

from diag.model import Link

SHAPE_LENGTH = 300
# A quote behind a backslash ends the string or not, as the server is set: whatever comes after is left out.
_UNSURE = rb"'(?:[^'\\]|\\[^'\"]|'')*+\\['\"](?s:.*)\Z|\"(?:[^\"\\]|\\[^'\"]|\"\")*+\\['\"](?s:.*)\Z"
_STRING = rb"'(?:[^'\\]|''|\\[^'\"])*+(?:'|\\?\Z)"
_QUOTED = rb"\"(?:[^\"\\]|\"\"|\\[^'\"])*+(?:\"|\\?\Z)"
_DOLLAR = rb"\$(?P<tag>\w{0,60})\$(?s:.*?)(?:\$(?P=tag)\$|\Z)"
_COMMENT = rb"/\*(?s:.*?)(?:\*/|\Z)|--[^\n]*+|#[^\n]*+"
_NUMBER = rb"(?<![\w.$])[-+]?(?:0[xX][0-9a-fA-F]++|\d++(?:\.\d*+)?(?:[eE][-+]?\d++)?)(?![\w])"
_NAME = rb"`(?:[^`]|``)*+(?:`|\Z)"


def _tokens(quoted_values: bool) -> re.Pattern[bytes]:
    quoted = rb"(?P<value2>%s)|" % _QUOTED if quoted_values else rb"(?P<name2>%s)|" % _QUOTED
    parts = (rb"(?P<unsure>%s)|(?P<comment>%s)|(?P<name>%s)|" % (_UNSURE, _COMMENT, _NAME)) + quoted
    return re.compile(parts + rb"(?P<value>%s|%s|%s)" % (_STRING, _DOLLAR, _NUMBER))


_MYSQL, _POSTGRES = _tokens(True), _tokens(False)
_LIST = re.compile(r"\?(?:\s*,\s*\?)+")
_ROWS = re.compile(r"(\(\?(?:, …)?\))(?:\s*,\s*\(\?(?:, …)?\))+")
_PARENT = re.compile(rb"traceparent='00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}'")


def mask(statement: bytes, *, mysql: bool = False) -> bytes:
    """The statement with `?` for each character of a value, and its length unchanged. Comments become blanks."""

    def cover(match: re.Match[bytes]) -> bytes:
        if match["comment"]:
            return b" " * len(match[0])
        return match[0] if (match["name"] or match.groupdict().get("name2")) else b"?" * len(match[0])

    return (_MYSQL if mysql else _POSTGRES).sub(cover, statement)


def shape(statement: bytes, *, mysql: bool = False) -> str:
    """The statement on one line, `?` for each value, `?, …` for lists of them, and no more than a line's length."""

    def cover(match: re.Match[bytes]) -> bytes:
        if match["comment"]:
            return b" "
        return match[0] if (match["name"] or match.groupdict().get("name2")) else b"?"

    text = (_MYSQL if mysql else _POSTGRES).sub(cover, statement[:8192]).decode("utf-8", "replace")
    text = _ROWS.sub(r"\1, …", _LIST.sub("?, …", " ".join(text.replace("\0", " ").split())))
    return text if len(text) <= SHAPE_LENGTH else f"{text[:SHAPE_LENGTH]}…"


def link_of(statement: bytes) -> Link:
    """The trace that a comment in the statement names, as sqlcommenter writes it."""
    found = _PARENT.search(statement[:8192])
    return Link(None, found[1].decode(), found[2].decode()) if found else Link()
