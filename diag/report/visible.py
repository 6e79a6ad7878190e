"""Makes text safe for a terminal: names inside a report come from whoever wrote the program that died."""

from __future__ import annotations

import unicodedata
from typing import Any

# Control characters, format characters (they turn the direction of text or hide it), surrogates, private use.
_UNSAFE = ("Cc", "Cf", "Cs", "Co")
_MULTI_LINE = ("message", "stderrTail", "notes")


def visible(text: str, keep: str = "") -> str:
    """The text with every character that a terminal would obey shown as an escape such as `\\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in _UNSAFE else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()


def visible_report(value: Any, key: str = "") -> Any:
    """The JSON value with every text in it visible; messages and the tail of stderr keep their lines."""
    if isinstance(value, str):
        return visible(value.replace("\t", "    "), "\n" if key in _MULTI_LINE else "")
    if isinstance(value, dict):
        return {visible(str(name)): visible_report(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [visible_report(item, key) for item in value]
    return value
