"""Asks a Docker-compatible API on a Unix socket (Docker, podman) which containers run, and what they are called.

API: https://docs.docker.com/reference/api/engine/, `GET /containers/json` and `GET /containers/{id}/json`.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diag.agent.container_state import Found, words_of
from diag.agent.unix_http import UnixConnection

LIMIT_S = 2.0
LIMIT_BYTES = 8 << 20
CHUNK_BYTES = 1 << 16
SYSTEM_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
USER_SOCKETS = ("docker.sock", "podman/podman.sock")


def sockets() -> list[str]:
    """The sockets that there are, the one that the user has named first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    named = [os.environ.get(name, "") for name in ("DOCKER_HOST", "CONTAINER_HOST")]
    paths = [url.removeprefix("unix://") for url in named if url.startswith("unix://")]
    paths += [*SYSTEM_SOCKETS, *(f"{runtime}/{name}" for name in USER_SOCKETS if runtime)]
    return [path for path in dict.fromkeys(paths) if Path(path).is_socket()]


def running() -> Iterator[Found]:
    """The running containers of every API that answers within its time."""
    for path in sockets():
        for entry in _listing(path):
            found = words_of(entry, "Id")
            names = entry.get("Names")
            name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
            if found:
                yield Found(found, name.lstrip("/"))


def pid_of(container_id: str) -> int | None:
    """The pid of its first process, as this machine counts them; None where no API knows it."""
    for path in sockets():
        state = _get(path, f"/containers/{container_id}/json")
        if isinstance(state, dict) and isinstance(state.get("State"), dict):
            pid = state["State"].get("Pid")
            if isinstance(pid, int) and pid > 0:
                return pid
    return None


def _listing(path: str) -> list[dict[str, Any]]:
    answer = _get(path, "/containers/json")
    return [entry for entry in answer if isinstance(entry, dict)] if isinstance(answer, list) else []


def _get(path: str, resource: str) -> Any:
    """The JSON, or None: an API that does not answer is one source less, and others follow."""
    until = time.monotonic() + LIMIT_S
    connection = UnixConnection(path, LIMIT_S)
    try:
        connection.request("GET", resource)
        answer = connection.getresponse()
        content = bytearray()
        while chunk := answer.read1(CHUNK_BYTES):
            content += chunk
            if len(content) > LIMIT_BYTES or time.monotonic() > until:
                return None
        return json.loads(content) if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
