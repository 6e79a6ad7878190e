"""What the uploader has to say to people, who cannot see it: a small file in the spool."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from diag.errors import DiagError, StoreRefused
from diag.model import now, parse_stamp, stamp
from diag.spool import Spool
from diag.spool.files import part_of, read_plain

FILE = "uploader.json"


@dataclass(frozen=True, slots=True)
class Status:
    """The last trouble with the store, since when, and when it is tried again; times as `stamp` writes them.

    `refused` where only a person can help. `clock_ahead_s` is not 0 where requests are signed by the store's clock.
    """

    trouble: str = ""
    advice: str = ""
    refused: bool = False
    since: str = ""
    next_try: str = ""
    clock_ahead_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {name: getattr(self, name) for name in self.__slots__}


def place(spools: Iterable[Spool]) -> Path | None:
    """Where the uploader of these spools has its lock and its status: the first that was made and can be written."""
    return next((one.root for one in spools if os.access(one.root, os.W_OK | os.X_OK)), None)


def read(root: Path | None) -> Status | None:
    """What was noted in the spool at `root`, or None where all is well."""
    if root is None:
        return None
    try:
        said = json.loads(read_plain(root / FILE))
        status = Status(**said)
        for moment in filter(None, (status.since, status.next_try)):
            parse_stamp(moment)
    except (OSError, ValueError, TypeError):
        return None
    return status


def note(root: Path | None, trouble: DiagError | None, *, pause_s: float, clock_ahead_s: float) -> None:
    """Keep what came of a pass; a trouble that goes on keeps its beginning. On a full disk nothing is kept."""
    if root is None:
        return
    before = read(root)
    with suppress(OSError):
        if trouble is None and not clock_ahead_s:
            (root / FILE).unlink(missing_ok=True)
            return
        moment = now()
        status = Status(clock_ahead_s=round(clock_ahead_s))
        if trouble is not None:
            since = before.since if before and before.trouble else stamp(moment)
            following = stamp(moment + timedelta(seconds=pause_s))
            status = Status(
                str(trouble),
                trouble.help_text,
                isinstance(trouble, StoreRefused),
                since,
                following,
                status.clock_ahead_s,
            )
        if status == before:
            return
        part = part_of(root / FILE)
        part.touch(0o600)
        part.write_text(json.dumps(status.to_json()))
        part.rename(root / FILE)
