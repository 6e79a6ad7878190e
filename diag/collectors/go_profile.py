"""CPU profiles of Go by its own net/http/pprof, where the program serves it."""

from __future__ import annotations

import http.client
import mmap
import time
from contextlib import closing
from pathlib import Path

from diag.collectors import sockets
from diag.collectors.asked import ProfileAsked
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.proc import check_attachable
from diag.collectors.procfs import ProcFolder
from diag.collectors.sockets import Address
from diag.errors import Busy, NoSuchInstance, ToolFailed, WrongEngine, WrongRuntime
from diag.model import Missing

RATE_HZ = 100  # runtime/pprof knows no other
SLICE_S = 2  # an answer comes when its time is over, and not at all when somebody hangs up before
ANSWER_S = 20.0
_ASK_S = 2.0
_MOST_BYTES = 256 * 1024 * 1024
_INDEX = "/debug/pprof/"
_HANDLER = b"net/http/pprof.Profile"  # as the linker names it in the table of functions
_ADVICE = (
    'Add `import _ "net/http/pprof"` and serve it: go http.ListenAndServe("127.0.0.1:6060", nil). '
    "--engine perf needs neither."
)


class GoProfile:
    """`GET /debug/pprof/profile`, again and again for short times, so that an early end costs the last seconds only."""

    engine = "go"

    def __init__(self, asked: ProfileAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """It is Go, it has net/http/pprof in it, and one of its own sockets answers for it."""
        if subject.language != "go":
            raise WrongRuntime(f"This engine is for Go, and pid {subject.pid} is {subject.runtime or 'unknown'}.")
        if self._asked.mode != "cpu" or self._asked.native:
            raise WrongEngine("Go's own profile knows CPU time only, without C frames.", "Try --engine perf.")
        if subject.standing:
            raise WrongEngine(f"The process is {subject.standing}: it cannot answer.")
        check_attachable(subject.pid)
        address = endpoint(subject.pid)
        rate = "" if self._asked.rate_hz == RATE_HZ else f", at {RATE_HZ} Hz, Go's only rate"
        return f"Go samples itself{rate}, and gives it at {address.host}:{address.port}{_INDEX}"

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The samples of this time. Raises Busy, ToolFailed."""
        address, made, missing = endpoint(subject.pid), list[Made](), tuple[Missing, ...]()
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


def endpoint(pid: int) -> Address:
    """Where the process serves its profiles. Raises WrongEngine.

    Only a program that has the package in it is asked: another may take a GET on its port for an attack.
    """
    if not _has_pprof(pid):
        raise WrongEngine(f"The program of pid {pid} does not import net/http/pprof.", _ADVICE)
    for address in sockets.listening(pid):
        try:
            status, content = _get(pid, address, _INDEX, _ASK_S)
        except (OSError, http.client.HTTPException):
            continue  # it speaks something else there
        if status == http.client.OK and b"goroutine" in content:
            return address
    raise WrongEngine(f"Pid {pid} imports net/http/pprof, and serves {_INDEX} at none of its ports.", _ADVICE)


def fetch(pid: int, address: Address, seconds: int) -> bytes:
    """A CPU profile of the next seconds. Raises Busy, ToolFailed, OSError."""
    status, content = _get(pid, address, f"{_INDEX}profile?seconds={seconds}", seconds + ANSWER_S)
    if b"already in use" in content[:500]:
        raise Busy(f"Somebody else profiles process {pid} already: Go takes one CPU profile at a time.")
    if status != http.client.OK or not content.startswith(b"\x1f\x8b"):
        said = content[:200].decode("utf-8", "replace").strip()
        raise ToolFailed(f"Process {pid} answered {status} instead of a profile: {said}")
    return content


def _get(pid: int, address: Address, path: str, timeout_s: float) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)) as connection:
        connection.sock = sockets.connect(pid, address, timeout_s=timeout_s)
        connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "diag"})
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES)


def _has_pprof(pid: int) -> bool:
    try:
        with ProcFolder(pid) as folder, open(folder.open("exe"), "rb") as file:  # noqa: PTH123  a descriptor
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
                return image.find(_HANDLER) >= 0
    except (OSError, ValueError, NoSuchInstance):
        return False
