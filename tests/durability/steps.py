"""Every step of a process by its system calls, and its end at one of them: strace's fault injection.

strace(1), "Tampering": `inject=CALL:signal=SIGKILL:when=K` kills on entering the K-th such call, which is then not
executed. So all that a killed process can leave is met, without a hook in it.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from durability.children import LIMIT_S, Child

# What changes a disk, and what goes to a store and comes from it.
DISK = (
    "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,link,linkat,fsync,fdatasync,write,pwrite64,"
    "ftruncate,fallocate,fchmod,openat,flock"
)
NETWORK = "connect,sendto,sendmsg,recvfrom"
_LINE = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<arguments>.*)")
_CHANCE = re.compile(r"-[0-9a-f]{8,}")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{22}")


@dataclass(frozen=True, slots=True)
class Step:
    """The k-th call of a kind, and a name for people: what it is done to."""

    call: str
    number: int
    what: str

    @property
    def name(self) -> str:
        """`rename-2(pending)`."""
        return f"{self.call}-{self.number}({self.what})"


def steps(child: Child, log: Path, calls: str) -> list[Step]:
    """Let a gated child do its work once, and list its steps."""
    with attached(child.pid, ["-y", "-s", "120", "-o", str(log), "-e", f"trace={calls}"]):
        child.wait()
    return list(dict.fromkeys(_read(log.read_text(errors="replace"))))


def kill_at(child: Child, step: Step) -> bool:
    """Let a gated child do its work until this step; whether it was killed there."""
    with attached(child.pid, killing(step)):
        return child.wait() == -9 and not child.hung


def killing(step: Step) -> list[str]:
    """What strace has to be told."""
    inject = f"inject={step.call}:signal=SIGKILL:when={step.number}"
    return ["-o", "/dev/null", "-e", f"trace={step.call}", "-e", inject]


@contextmanager
def attached(pid: int, options: list[str]) -> Iterator[None]:
    """Strace on a process, until the context and the process end."""
    command = ["strace", "-f", "-qq", *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as strace:
        try:
            _wait_for_tracer(pid, strace)
            yield
            strace.wait(LIMIT_S)
        finally:
            strace.kill()


def _wait_for_tracer(pid: int, strace: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + LIMIT_S
    while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
        if strace.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"strace does not attach to {pid}; it needs CAP_SYS_PTRACE.")
        time.sleep(0.001)


def _read(text: str) -> Iterator[Step]:
    seen: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        if (found := _LINE.match(line)) is None:
            continue
        call = found["call"]
        seen[found["thread"], call] += 1
        arguments = found["arguments"]
        if call == "openat" and "O_CREAT" not in arguments:
            continue  # changes nothing; counted all the same, as strace counts
        yield Step(call, seen[found["thread"], call], _what(arguments))


def _what(arguments: str) -> str:
    """The last part of what the call names, without what varies from run to run."""
    paths = re.findall(r'[<"](/[^">]+|[a-z]+:[^">]+)[">]', arguments)
    if not paths:
        return "-"
    last = paths[-1].split(":")[0] if not paths[-1].startswith("/") else paths[-1].rstrip("/")
    parts = _CHANCE.sub("", _ID.sub("ID", last)).split("/")
    return "/".join(parts[-2:] if parts[-1] == "ID" or "ID" in parts[-2:] else parts[-1:])
