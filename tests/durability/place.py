"""The machine of one trial: a home of its own, its spool on a disk that the trial chooses, and its store."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moving import listed

from diag.model import MANIFEST, valid_id
from diag.spool import id_of
from durability.children import FAILED, LIMIT_S, Child
from durability.work import Work, flush, stated

# All that the campaign knows of the spool's inside.
WAITING = f"**/pending/**/{MANIFEST}"
QUARANTINED = "**/quarantine/**/*"
UNFINISHED = "**/new/**/*"

# And of an agent's folder: that it has written down whom it watches.
PUBLISHED = "diag/*/instance.json"

NOWHERE = "http://127.0.0.1:9"
_MARK = "DURABILITY_PLACE"
_DRAIN_TRIES = 8


@dataclass(frozen=True, slots=True)
class Look:
    """What `diag flush --json` said, and with which status it ended."""

    status: int
    account: dict[str, Any] | None
    said: str
    hung: bool = False

    @property
    def pending(self) -> int:
        """How many wait; -1 where it did not say."""
        return int(self.account["pending"]) if self.account else -1

    @property
    def dropped(self) -> dict[str, int]:
        """The counted losses by reason."""
        return dict(self.account["dropped"]) if self.account else {}


class Place:
    """Where the children of one trial live."""

    def __init__(self, home: Path, variables: Mapping[str, str], state: Path | None = None) -> None:
        self.home = home
        self.state = state or home / "state"
        self.run_dir = home / "run"
        for folder in (self.state, self.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
        self._children: list[Child] = []
        self._looks = 0
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DIAG_", "OTEL_", "XDG_"))},
            "HOME": str(home),
            "XDG_STATE_HOME": str(self.state),
            "XDG_RUNTIME_DIR": str(self.run_dir),
            "DIAG_SPOOL_FLOOR_MB": "0",
            _MARK: str(home),
            **variables,
        }

    def start(self, work: Work, *, gated: bool = False, **changes: str) -> Child:
        """A child at work here."""
        child = Child(stated(work), {**self.environ, **changes}, self.home / "children.log", gated=gated)
        self._children.append(child)
        return child

    def flush(self, **changes: str) -> Look:
        """One `diag flush --json`, to its end."""
        self._looks += 1
        output = self.home / f"flush-{self._looks}.log"
        child = Child(stated(flush), {**self.environ, **changes}, output)
        self._children.append(child)
        status = child.wait()
        return _look(status, output.read_text(errors="replace"), child.hung)

    def look(self) -> Look:
        """The account, with nothing delivered: the store is out of reach."""
        return self.flush(DIAG_STORE=NOWHERE)

    def drain(self) -> Look:
        """Flush until nothing waits, or a few times: the faults are over."""
        for _ in range(_DRAIN_TRIES):
            found = self.flush()
            if found.pending == 0 or found.status == FAILED or found.hung:
                break
        return found

    def waiting(self) -> dict[str, Path]:
        """The captures that wait in the spool, by id, with their folders."""
        found = [path.parent for path in self._glob(WAITING)]
        return {id_of(folder): folder for folder in found if valid_id(id_of(folder))}

    def quarantined(self) -> dict[str, Path]:
        """The captures that are set aside."""
        return {id_of(path): path for path in self._glob(QUARANTINED) if valid_id(id_of(path)) and path.is_dir()}

    def published(self) -> bool:
        """Whether an agent has written down whom it watches."""
        return any(self.run_dir.glob(PUBLISHED))

    def unfinished(self) -> list[Path]:
        """The files of captures that nobody has committed."""
        return sorted(path for path in self._glob(UNFINISHED) if path.is_file())

    def _glob(self, pattern: str) -> list[Path]:
        return [path for place in (self.state, self.run_dir) for path in listed(place, pattern)]

    def taken_bytes(self, folder: str) -> int:
        """What the files below a folder of the state take on the disk now; what is gone meanwhile takes nothing.

        What is moved while it is looked at may be met twice, and counts once.
        """
        taken = {}
        for at, _, names in os.walk(self.state / folder):
            for name in names:
                with suppress(FileNotFoundError):
                    facts = (Path(at) / name).lstat()
                    taken[facts.st_ino] = facts.st_blocks * 512
        return sum(taken.values())

    def log(self) -> str:
        """What the children wrote, the end of it."""
        path = self.home / "children.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def kill_all(self) -> None:
        """Kill -9 of everything that runs here, also of what has left its group."""
        for child in self._children:
            child.kill()
        until = time.monotonic() + LIMIT_S
        while pids := [*self._running()]:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                raise RuntimeError(f"{pids} do not end")
            time.sleep(0.001)
        for child in self._children:
            child.said()

    def _running(self) -> Iterator[int]:
        """Who was started here and still runs; of a zombie nobody can tell."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and f"{_MARK}={self.home}\0".encode() in (entry / "environ").read_bytes():
                    yield int(entry.name)


def _look(status: int, text: str, hung: bool) -> Look:
    start = text.find("{")
    try:
        account, _ = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else (None, 0)
    except ValueError:
        account = None
    return Look(status, account if isinstance(account, dict) else None, text[-2000:], hung)
