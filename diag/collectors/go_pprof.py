"""Go's own net/http/pprof: where a program serves it, and what it answers."""

from __future__ import annotations

import http.client
import mmap
from contextlib import closing

from diag.collectors import sockets
from diag.collectors.collector import Subject
from diag.collectors.proc import check_attachable
from diag.collectors.procfs import ProcFolder
from diag.collectors.sockets import Address
from diag.errors import NoSuchInstance, ToolFailed, WrongEngine, WrongRuntime

ANSWER_S = 20.0
_ASK_S = 2.0
_MOST_BYTES = 256 * 1024 * 1024
_INDEX = "/debug/pprof/"
_HANDLER = b"net/http/pprof.Profile"  # as the linker names it in the table of functions
_ADVICE = (
    'Add `import _ "net/http/pprof"` and serve it: go http.ListenAndServe("127.0.0.1:6060", nil). '
    "`--engine auto` takes one that needs neither."
)


def check_go(subject: Subject) -> None:
    """Raises WrongRuntime where it is no Go."""
    if subject.language != "go":
        raise WrongRuntime(f"This engine is for Go, and pid {subject.pid} is {subject.runtime or 'unknown'}.")


def check(subject: Subject) -> str:
    """Where it will be asked, in words. Raises WrongEngine, CannotAttach."""
    if subject.standing:
        raise WrongEngine(f"The process is {subject.standing}: it cannot answer.")
    check_attachable(subject.pid)
    address = endpoint(subject.pid)
    return f"gives it at {address.host}:{address.port}{_INDEX}"


def endpoint(pid: int) -> Address:
    """Where the process serves its profiles. Raises WrongEngine.

    Only a program that has the package in it is asked: another may take a GET on its port for an attack.
    """
    if not _has_pprof(pid):
        raise WrongEngine(f"The program of pid {pid} does not import net/http/pprof.", _ADVICE)
    for address in sockets.listening(pid):
        try:
            status, content = get(pid, address, "", _ASK_S)
        except (OSError, http.client.HTTPException):
            continue  # it speaks something else there
        if status == http.client.OK and b"goroutine" in content:
            return address
    raise WrongEngine(f"Pid {pid} imports net/http/pprof, and serves {_INDEX} at none of its ports.", _ADVICE)


def checked(pid: int, status: int, content: bytes) -> bytes:
    """The content, where it is a profile. Raises ToolFailed."""
    if status != http.client.OK or not content.startswith(b"\x1f\x8b"):
        said = content[:200].decode("utf-8", "replace").strip()
        raise ToolFailed(f"Process {pid} answered {status} instead of a profile: {said}")
    return content


def get(pid: int, address: Address, path: str, timeout_s: float = ANSWER_S) -> tuple[int, bytes]:
    """(status, content) of what stands below the index. Raises OSError, HTTPException."""
    with closing(http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)) as connection:
        connection.sock = sockets.connect(pid, address, timeout_s=timeout_s)
        connection.request("GET", _INDEX + path, headers={"Accept-Encoding": "identity", "User-Agent": "diag"})
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES)


def _has_pprof(pid: int) -> bool:
    try:
        with ProcFolder(pid) as folder, open(folder.open("exe"), "rb") as file:  # noqa: PTH123  a descriptor
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
                return image.find(_HANDLER) >= 0
    except (OSError, ValueError, NoSuchInstance):
        return False
