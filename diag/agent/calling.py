"""Calls the hooks of an agent on this machine."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from diag.agent import hooks, meeting, registry
from diag.agent.unix_http import UnixConnection
from diag.config import Settings
from diag.errors import CannotAttach, DiagError, UsageError

GRACE_S = 10.0  # what an agent under load may take beyond the time that it was given
_REFUSED = {http.client.BAD_REQUEST: UsageError, http.client.FORBIDDEN: CannotAttach}


class NoSuchAgent(DiagError):
    """Nobody answers there."""

    help_text = "`diag agent` starts one; `diag ps` lists instances, and each of `diag run` has its own."


def hooks_of(settings: Settings, text: str) -> Path:
    """The socket that is meant: by a folder, by a socket in it, by an instance, or, with nothing, the usual agent's.

    Raises NoSuchInstance, UsageError.
    """
    usual = meeting.socket_of(settings, None).parent
    if not text:
        return usual / hooks.NAME
    if "/" in text:
        path = Path(text).absolute()
        return (path if path.is_dir() else path.parent) / hooks.NAME
    own = registry.find(settings, text).run_dir
    return own / hooks.NAME if own and (own / hooks.NAME).is_socket() else usual / hooks.NAME


def call(path: Path, word: str, deadline_s: float) -> dict[str, Any]:
    """What the agent at this socket answers. Raises NoSuchAgent, CannotAttach, UsageError."""
    connection = UnixConnection(str(path), deadline_s + GRACE_S)
    try:
        connection.request("POST", f"{word}?deadline_s={deadline_s}")
        answer = connection.getresponse()
        said = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoSuchAgent(f"No agent answers at {path}: {getattr(error, 'strerror', None) or error}.") from error
    finally:
        connection.close()
    if "error" in said:
        raise _REFUSED.get(answer.status, NoSuchAgent)(said["error"])
    found: dict[str, Any] = said
    return found
