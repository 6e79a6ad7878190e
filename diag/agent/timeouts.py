"""Servers that end a worker of their own because it has been silent for too long."""

from __future__ import annotations

import re
from typing import Any

from diag.agent.blackbox import exception_seen

# gunicorn: the worker's handler of the SIGABRT that its master sends (workers/base.py), and what the master says
# (arbiter.py, murder_workers).
_HANDLER = ("gunicorn.workers.base", "handle_abort")
_SAID = r"WORKER TIMEOUT \(pid:{pid}\)"


def is_handler(leaving: dict[str, Any]) -> bool:
    """Whether the worker left in its handler of the master's signal; what it hung in stands below that."""
    frames = exception_seen(leaving["exception"]).frames
    return bool(frames) and (frames[0].module, frames[0].function) == _HANDLER


def master_said_so(pid: int, stderr_tail: str | None) -> bool:
    """Whether the master said on stderr that this worker is out of time."""
    return stderr_tail is not None and re.search(_SAID.format(pid=pid), stderr_tail) is not None
