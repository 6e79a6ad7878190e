"""How raw values become JSON: scrubbed, clipped, encodable, with the reasons for what is missing."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diag.model import Missing

if TYPE_CHECKING:
    from diag.redact import Redactor

TEXT_LIMIT = 8192
_DEPTH_LIMIT = 8
_ITEMS_LIMIT = 2000


def clip(text: str, limit: int) -> str:
    """The text, at most `limit` characters, with an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def encodable(text: str) -> str:
    """The text without lone surrogates: bytes that were not UTF-8 show as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def hex_address(value: int) -> str:
    """An address as Node writes it: 16 hexadecimal digits."""
    return f"0x{value & 0xFFFFFFFFFFFFFFFF:016x}"


def signal_name(number: int) -> str:
    """`SIGSEGV` for 11; `SIGRTMIN+3` for a real-time one; `signal 33` where the number has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        real_time = signal.SIGRTMIN < number < signal.SIGRTMAX
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if real_time else f"signal {number}"


@dataclass(frozen=True, slots=True)
class Scrub:
    """The redactor with limits: every text of a report goes through here."""

    redactor: Redactor

    def text(self, value: str, limit: int = TEXT_LIMIT) -> str:
        """The redacted text, at most `limit` characters."""
        # Redaction comes before the last cut, because half a secret no longer looks like one.
        return clip(self.redactor.text(encodable(value[: 4 * limit])), limit)

    def tail(self, value: str, limit: int) -> str:
        """The end of a text, redacted, at most `limit` characters."""
        return self.redactor.text(encodable(value[-4 * limit :]))[-limit:]

    def url(self, value: str) -> str:
        """The redacted URL or path."""
        return clip(self.redactor.url(encodable(value[: 4 * TEXT_LIMIT])), TEXT_LIMIT)

    def argv(self, values: Iterable[str]) -> list[str]:
        """The redacted command line."""
        words = [encodable(word[: 4 * TEXT_LIMIT]) for word in list(values)[:_ITEMS_LIMIT]]
        return [clip(word, TEXT_LIMIT) for word in self.redactor.argv(words)]

    def environment(self, values: Mapping[str, str]) -> dict[str, str]:
        """The allowed variables, redacted."""
        kept = self.redactor.environment({encodable(k): encodable(v) for k, v in values.items()})
        return {name: clip(value, TEXT_LIMIT) for name, value in kept.items()}

    def locals(self, values: Mapping[str, str]) -> dict[str, str]:
        """The redacted local variables."""
        kept = self.redactor.locals({encodable(k): clip(encodable(v), 4096) for k, v in values.items()})
        return {name: clip(value, 1024) for name, value in kept.items()}

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Free-form JSON with every text redacted; what JSON cannot say becomes text, depth and length are bounded."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if depth >= _DEPTH_LIMIT:
            return "…"
        if isinstance(value, Mapping):
            pairs = list(value.items())[:_ITEMS_LIMIT]
            return {self.text(str(key), 256): self.plain(item, depth + 1) for key, item in pairs}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.plain(item, depth + 1) for item in list(value)[:_ITEMS_LIMIT]]
        return self.text(str(value))


@dataclass(slots=True)
class Gaps:
    """What the report does not have and why; the first reason for a section is kept."""

    found: list[Missing] = field(default_factory=list)

    def add(self, section: str, reason: str) -> None:
        """Record the reason, unless this section has one already."""
        if all(entry.section != section for entry in self.found):
            self.found.append(Missing(section, reason))
