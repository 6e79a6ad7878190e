"""Errors as OSS answers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape


@dataclass
class Problem(Exception):
    """A refusal: status, code, message, further XML elements, headers."""

    status: int
    code: str
    message: str = ""
    more: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def xml(self, request_id: str, host: str) -> bytes:
        """The error document."""
        said = {
            "Code": self.code,
            "Message": self.message,
            "RequestId": request_id,
            "HostId": host,
            **self.more,
        }
        return document("Error", "".join(element(name, value) for name, value in said.items()))


def element(name: str, text: object) -> str:
    """An XML element with text."""
    return f"<{name}>{escape(str(text))}</{name}>"


def document(name: str, inner: str) -> bytes:
    """A whole XML document."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{inner}</{name}>'.encode()
