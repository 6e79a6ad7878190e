"""The heap of a live Go by function, from its own net/http/pprof: what is in use, and what was allocated."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

from diag.collectors import go_pprof, sockets
from diag.collectors.asked import MemoryAsked
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.mappings import Mappings
from diag.collectors.sockets import Address
from diag.errors import DiagError
from diag.model import Missing


class GoHeap:
    """`GET /debug/pprof/heap`, once, or twice for what grew between."""

    engine = "go"

    def __init__(self, asked: MemoryAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """It is Go, it has net/http/pprof in it, and one of its own sockets answers for it."""
        go_pprof.check_go(subject)
        return f"Go samples an allocation every 512 KiB, as of its last collection, and {go_pprof.check(subject)}"

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """One heap or two. Raises ToolFailed where there is none."""
        address, missing = go_pprof.endpoint(subject.pid), tuple[Missing, ...]()
        with Mappings(subject, twice=bool(self._asked.apart_s)) as mappings:
            made = [self._heap(subject, address, folder / ".go.0.pb.gz")]
            apart_s = watch.wait(subject, self._asked.apart_s, "until the second look")
            if self._asked.apart_s:
                try:
                    made.append(self._heap(subject, address, folder / ".go.1.pb.gz"))
                except DiagError as error:
                    missing = (Missing("memory.growth", f"the second look could not be had: {error}"),)
        facts = {"mappings": mappings.told(), "duration_s": apart_s if len(made) > 1 else 0.0}
        return Collected(tuple(made), "go pprof", facts, incomplete=(*missing, *mappings.missing))

    def _heap(self, subject: Subject, address: Address, path: Path) -> Made:
        try:
            content = go_pprof.checked(subject.pid, *go_pprof.get(subject.pid, address, "heap"))
        except (OSError, http.client.HTTPException) as error:
            raise sockets.told(error, f"Process {subject.pid} gave no heap") from error
        path.write_bytes(content)
        return Made(path, "profile", "pprof", "application/octet-stream", time.time())
