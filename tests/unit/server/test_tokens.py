"""Tokens files and roles."""

from __future__ import annotations

from pathlib import Path

import pytest
from diag_server.errors import BadTokens
from diag_server.tokens import digest, read_tokens


def file_of(folder: Path, text: str) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    return path


def test_each_line_gives_a_role(tmp_path: Path) -> None:
    """A token has the role of its line, comments and empty lines aside; another token has none."""
    tokens = read_tokens(file_of(tmp_path, "# people\n\nviewer v-1\nadmin  a-1\nagent g-1\n"))

    roles = [found.role if (found := tokens.identify(token)) else None for token in ("v-1", "a-1", "g-1", "x", "")]

    assert roles == ["viewer", "admin", "agent", None, None]


def test_a_session_is_known_by_the_digest_alone(tmp_path: Path) -> None:
    """The digest stands for the token, the token itself does not."""
    tokens = read_tokens(file_of(tmp_path, "viewer v-1\n"))

    assert tokens.identify_digest(digest("v-1")) == tokens.identify("v-1")
    assert tokens.identify_digest("v-1") is None


@pytest.mark.parametrize(
    ("holder", "needed", "may"),
    [
        ("viewer", "viewer", True),
        ("viewer", "operator", False),
        ("operator", "viewer", True),
        ("operator", "admin", False),
        ("admin", "agent", True),
        ("agent", "viewer", False),
        ("operator", "agent", False),
    ],
)
def test_roles_include_the_smaller_ones(tmp_path: Path, holder: str, needed: str, may: bool) -> None:
    """viewer < operator < admin; the agent's role stands apart and reads nothing."""
    identity = read_tokens(file_of(tmp_path, f"{holder} t\n")).identify("t")

    assert identity is not None
    assert identity.may({needed}) is may


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("boss secret-1\n", "unknown role 'boss'"),
        ("viewer\n", "Line 1"),
        ("viewer a b\n", "Line 1"),
        ("viewer t\nadmin t\n", "a second role"),
        ("# nothing\n", "no token"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """A tokens file with a mistake stops the start with a sentence that names it, and never shows a token."""
    with pytest.raises(BadTokens, match=complaint) as caught:
        read_tokens(file_of(tmp_path, text))

    assert "secret-1" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A tokens file that cannot be read never means: no tokens."""
    with pytest.raises(BadTokens, match="cannot be read"):
        read_tokens(tmp_path / "absent")
