"""Memory of any process by its mappings alone: what is there for every runtime, without a stop."""

from __future__ import annotations

from pathlib import Path

from diag.collectors.asked import MemoryAsked
from diag.collectors.collector import Collected, Subject, Watch
from diag.collectors.mappings import Mappings
from diag.collectors.proc import check_attachable

_DEEPER = {
    "python": "objects and allocations need the probe: diag run --name NAME -- COMMAND",
    "go": "the heap by function needs net/http/pprof, served",
    "native": "who allocated it is not known",
}


class Smaps:
    """One look, or two and what grew between them."""

    engine = "smaps"

    def __init__(self, asked: MemoryAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """Its /proc may be read."""
        check_attachable(subject.pid)
        deeper = _DEEPER.get(subject.language) if subject.run_dir is None or subject.language != "python" else None
        words = (
            "its mappings as the kernel counts them; nothing stops, and whoever maps memory there waits milliseconds"
        )
        return f"{words}; {deeper}" if deeper else words

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """What each mapping takes."""
        with Mappings(subject, twice=bool(self._asked.apart_s)) as mappings:
            watch.wait(subject, self._asked.apart_s, "until the second look")
        return Collected((), self.engine, {"mappings": mappings.told()}, incomplete=mappings.missing)
