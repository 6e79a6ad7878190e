"""CPU profiles of Go by its own net/http/pprof, where the program serves it."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

from diag.collectors import go_pprof, sockets
from diag.collectors.asked import ProfileAsked
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.go_pprof import ANSWER_S
from diag.collectors.sockets import Address
from diag.errors import Busy, ToolFailed, WrongEngine
from diag.model import Missing

RATE_HZ = 100  # runtime/pprof knows no other
SLICE_S = 2  # an answer comes when its time is over, and not at all when somebody hangs up before


class GoProfile:
    """`GET /debug/pprof/profile`, again and again for short times, so that an early end costs the last seconds only."""

    engine = "go"

    def __init__(self, asked: ProfileAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """It is Go, it has net/http/pprof in it, and one of its own sockets answers for it."""
        go_pprof.check_go(subject)
        if self._asked.mode != "cpu" or self._asked.native:
            raise WrongEngine("Go's own profile knows CPU time only, without C frames.", "Try --engine perf.")
        rate = "" if self._asked.rate_hz == RATE_HZ else f", at {RATE_HZ} Hz, Go's only rate"
        return f"Go samples itself{rate}, and {go_pprof.check(subject)}"

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The samples of this time. Raises Busy, ToolFailed."""
        address, made, missing = go_pprof.endpoint(subject.pid), list[Made](), tuple[Missing, ...]()
        began = time.monotonic()
        while not watch.stop.is_set() and (left := self._asked.duration_s - (time.monotonic() - began)) > 0.5:
            watch.show(1 - left / self._asked.duration_s, "Go gives its samples every two seconds")
            seconds = max(1, min(SLICE_S, round(left)))
            try:
                content = fetch(subject.pid, address, seconds)
            except (OSError, http.client.HTTPException) as error:
                if not made:
                    raise sockets.told(error, f"Process {subject.pid} gave no profile") from error
                missing = (Missing("profile.samples", f"up to {seconds} s before the end are lost"),)
                break
            path = folder / f".go.{len(made)}.pb.gz"
            path.write_bytes(content)
            made.append(Made(path, "profile", "pprof", "application/octet-stream"))
        if not made:
            raise ToolFailed("It was ended before there was anything to keep.")
        return Collected(tuple(made), "go pprof", {"rate_hz": RATE_HZ}, incomplete=missing)


def fetch(pid: int, address: Address, seconds: int) -> bytes:
    """A CPU profile of the next seconds. Raises Busy, ToolFailed, OSError."""
    status, content = go_pprof.get(pid, address, f"profile?seconds={seconds}", seconds + ANSWER_S)
    if b"already in use" in content[:500]:
        raise Busy(f"Somebody else profiles process {pid} already: Go takes one CPU profile at a time.")
    return go_pprof.checked(pid, status, content)
