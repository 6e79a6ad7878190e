"""A network of a test's own: a namespace with loopback up, real servers in it, and programs that talk to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instances import DIAG, Machine
from machine import TIMEOUT_S, missing, need

UP = "ip link set lo up && echo ready && exec sleep infinity"


@dataclass
class Network:
    """The namespace of the process `pid`, a shell that waits in it."""

    pid: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *words: str | Path) -> list[str]:
        """The command line that runs in the namespace."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *map(str, words)]

    def run(self, *words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run to its end; it has to go well."""
        command = self.command(*words)
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S, **more)

    def python(self, script: str, *arguments: str) -> str:
        """Run a script in the namespace; returns what it printed."""
        return self.run(sys.executable, "-c", script, *arguments).stdout

    def start(self, *words: str | Path, **more: Any) -> subprocess.Popen[bytes]:
        """Start something that is ended with the network; returns when it is there."""
        process = subprocess.Popen(self.command(*words), start_new_session=True, **more)
        self.started.append(process)
        end = time.monotonic() + TIMEOUT_S
        while process.poll() is None and Path(f"/proc/{process.pid}/comm").read_text() == "nsenter\n":
            assert time.monotonic() < end
            time.sleep(0.002)
        return process

    def serve(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a script that prints a line when it serves."""
        process = self.start(sys.executable, "-c", script, *arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    def wait_for(self, port: int) -> None:
        """Until something accepts at the port of 127.0.0.1."""
        self.python(_KNOCK, str(port))


_KNOCK = """
import socket, sys, time
until = time.monotonic() + 60
while True:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
        break
    except OSError:
        if time.monotonic() > until:
            raise
        time.sleep(0.05)
"""


@contextmanager
def network() -> Iterator[Network]:
    """A namespace until the context ends; what was started in it is killed then."""
    if os.geteuid():
        missing("only root makes network namespaces.")
    for tool in ("unshare", "nsenter", "ip", "tcpdump"):
        need(tool)
    shell = subprocess.Popen(["unshare", "--net", "sh", "-c", UP], stdout=subprocess.PIPE, start_new_session=True)
    assert shell.stdout is not None
    made = Network(shell.pid)
    try:
        assert shell.stdout.readline() == b"ready\n"
        yield made
    finally:
        for process in (*reversed(made.started), shell):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()


def tshark(path: Path, display_filter: str, *fields_: str) -> list[tuple[str, ...]]:
    """What tshark, the oracle, says of the packets that the filter lets through: these fields of each."""
    command = [need("tshark"), "-n", "-r", str(path), "-Y", display_filter, "-T", "fields", "-E", "separator=/t"]
    for name in fields_:
        command += ["-e", name]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S).stdout
    return [tuple(line.split("\t")) for line in said.splitlines()]


def summary_of(folder: Path) -> dict[str, Any]:
    """The summary of the capture in the folder."""
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@dataclass
class Heard:
    """A capture that has ended: how the command ended, and what it left."""

    status: int = -1
    stdout: str = ""
    stderr: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    pcap: Path = Path()

    def asked(self, protocol: str) -> dict[str, dict[str, Any]]:
        """What was asked in this protocol, with its figures."""
        found = [one for one in self.summary["protocols"] if one["name"] == protocol]
        return {one["what"]: one for one in found[0]["asked"]} if found else {}

    def all(self, protocol: str) -> list[dict[str, Any]]:
        """Every exchange in this protocol, oldest first; there must be fewer than are kept."""
        found = [one for one in self.summary["slowest"] if one["protocol"] == protocol]
        return sorted(found, key=lambda one: one["started"])


@contextmanager
def capturing(network: Network, machine: Machine, *options: str) -> Iterator[Heard]:
    """`diag tcpdump` of the namespace, from when it listens until all that was said in the context is in the file.

    It is ended with Ctrl-C. With a filter, `udp port 9` has to be among what it lets through.
    """
    heard = Heard()
    command = (*DIAG, "tcpdump", "-d", "300", "-o", str(machine.home / "out.pcap"))
    process = machine.start(*command, str(network.pid), *options, run=False, start_new_session=True)
    until(process, lambda: hears(network))
    yield heard
    mark = os.urandom(12).hex()
    network.python(_MARK, mark)
    marks = 1 if "udp" in options else 2  # without a filter the kernel's answer, that nobody is there, repeats it
    files = (machine.state / "spool/new").rglob  # nothing else comes or goes there meanwhile
    until(process, lambda: sum(path.read_bytes().count(mark.encode()) for path in files(".packets.pcap")) >= marks)
    process.send_signal(signal.SIGINT)
    heard.stdout, heard.stderr = process.communicate(timeout=TIMEOUT_S)
    heard.status = process.returncode
    assert heard.status == 0, heard.stderr
    heard.manifest = machine.captures()[-1]
    heard.summary = summary_of(next(machine.home.rglob("summary.json")).parent)
    heard.pcap = machine.home / "out.pcap"


def hears(network: Network) -> bool:
    """Whether a packet socket of the namespace is bound: from then on it loses nothing (packet(7), the column R)."""
    rows = Path(f"/proc/{network.pid}/net/packet").read_text().splitlines()[1:]
    return any(row.split()[5] == "1" for row in rows)


def until(process: subprocess.Popen[str], done: Callable[[], bool]) -> None:
    """Wait for it while the process runs."""
    end = time.monotonic() + TIMEOUT_S
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


_MARK = "import socket, sys; socket.socket(2, 2).sendto(sys.argv[1].encode(), ('127.0.0.1', 9))"
