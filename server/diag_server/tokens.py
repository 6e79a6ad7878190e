"""Tokens and the roles they give."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from diag_server.errors import BadTokens

# What each role may do. The agent's stands apart: it delivers, and reads nothing.
INCLUDES = {
    "viewer": frozenset({"viewer"}),
    "operator": frozenset({"viewer", "operator"}),
    "admin": frozenset({"viewer", "operator", "admin", "agent"}),
    "agent": frozenset({"agent"}),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: the role, and the digest of the token that gave it (empty where no tokens are set)."""

    role: str
    digest: str = ""

    def may(self, roles: Iterable[str]) -> bool:
        """Whether one of these roles is included in this one."""
        return not INCLUDES[self.role].isdisjoint(roles)


class Tokens:
    """The known tokens, kept as digests; without any, everybody who reaches the viewer is admin."""

    def __init__(self, roles: dict[str, str]) -> None:
        self._roles = roles

    def __bool__(self) -> bool:
        return bool(self._roles)

    def identify(self, token: str) -> Identity | None:
        """Whose token this is, or None; takes the same time whichever it is."""
        return self.identify_digest(digest(token))

    def identify_digest(self, presented: str) -> Identity | None:
        """The same for a digest, as a session keeps it."""
        found = None
        for known, role in self._roles.items():
            if hmac.compare_digest(known, presented):
                found = Identity(role, known)
        return found


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def read_tokens(path: Path | None) -> Tokens:
    """The tokens of a file, one `role token` a line, `#` for comments. Raises BadTokens."""
    if path is None:
        return Tokens({})
    try:
        content = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTokens(f"The tokens file {path} cannot be read: {error}.") from error
    roles: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2:
            raise BadTokens(f"Line {number} of {path} is not `role token`.")
        if words[0] not in INCLUDES:
            raise BadTokens(f"Line {number} of {path} names an unknown role {words[0]!r}.")
        if roles.setdefault(digest(words[1]), words[0]) != words[0]:
            raise BadTokens(f"Line {number} of {path} gives a token a second role.")
    if not roles:
        raise BadTokens(f"The tokens file {path} holds no token.")
    return Tokens(roles)
