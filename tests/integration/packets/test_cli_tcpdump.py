"""`diag tcpdump`: what it takes, where it refuses, and what it leaves alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from instances import DIAG, Machine
from machine import TIMEOUT_S, need
from networks import Network, capturing, hears, summary_of, tshark, until

TALK = """
import socket
a, b = socket.socket(2, 2), socket.socket(2, 2)
b.bind(("127.0.0.1", 0))
for number in range(%d):
    a.sendto(number.to_bytes(4, "big") * 300, b.getsockname())
    b.recv(2000)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process in our own network."""
    process = subprocess.Popen(["sleep", "infinity"])
    yield process
    process.kill()
    process.wait()


def test_it_tells_what_was_captured(net: Network, machine: Machine) -> None:
    """Three facts, the file, the page; a capture of kind packets with its cost and without a pause."""
    with capturing(net, machine) as heard:
        net.python(TALK % 3)

    lines = heard.stdout.splitlines()
    assert lines[0].startswith(f"{heard.summary['packets']} packets, ")
    assert [line.split()[0] for line in lines[3:]] == ["file", "page", "files"]
    assert heard.manifest["kind"] == "packets"
    assert heard.manifest["cost"]["pause_s"] == 0
    assert {artifact["kind"] for artifact in heard.manifest["artifacts"]} == {"packets", "summary"}
    assert (
        heard.summary["packets"] == len(tshark(heard.pcap, "frame", "frame.number")) == 5
    )  # and nobody takes the mark
    assert heard.pcap.stat().st_mode & 0o777 == 0o600


def test_the_filter_is_one(net: Network, machine: Machine) -> None:
    """Only what the filter lets through is there."""
    with capturing(net, machine, "udp", "port", "9", "and", "not", "port", "53") as heard:
        net.python(TALK % 3)

    assert heard.summary["packets"] == 1
    assert heard.summary["filter"] == "(udp port 9 and not port 53)"


@pytest.mark.parametrize(
    "words",
    [
        ["port", "no-such-service"],
        [
            "((",
        ],
        ["--", "-F", "/etc/hostname"],
        ["--", "-w", "x"],
    ],
)
def test_a_filter_that_is_none_is_refused(net: Network, machine: Machine, words: list[str]) -> None:
    """Exit status 2 with tcpdump's own words; what looks like an option is read as part of a filter."""
    ended = machine.diag("tcpdump", str(net.pid), *words, cwd=machine.home)

    assert ended.status == 2
    assert "tcpdump does not take the filter" in ended.stderr
    assert "pcap-filter(7)" in ended.stderr
    assert machine.captures() == []
    assert not (machine.home / "x").exists()


@pytest.mark.parametrize(
    "flags", [["--snaplen", "10"], ["--max-size", "1K"], ["--max-size", "much"], ["-d", "0"], ["-d", "99999"]]
)
def test_limits_are_refused(net: Network, machine: Machine, flags: list[str]) -> None:
    """What is beyond the limits is wrong usage."""
    assert machine.diag("tcpdump", str(net.pid), *flags).status == 2


def test_without_tcpdump(net: Network, machine: Machine) -> None:
    """Exit status 4, and the package that has it."""
    tool = need("tcpdump")
    hide = f"mount --bind /dev/null {tool} && exec {' '.join(DIAG)} tcpdump {net.pid}"

    ended = machine.run("unshare", "--mount", "sh", "-c", hide, run=False)

    assert ended.status == 4
    assert "apt-get install tcpdump" in ended.stderr


def test_without_the_right_to_listen(machine: Machine, sleeper: subprocess.Popen[bytes]) -> None:
    """Exit status 3, and the capability by name."""
    ended = machine.run(need("setpriv"), "--bounding-set=-net_raw", *DIAG, "tcpdump", str(sleeper.pid), run=False)

    assert ended.status == 3
    assert "--cap-add=NET_RAW" in ended.stderr


def test_without_the_right_to_enter(net: Network, machine: Machine) -> None:
    """Exit status 3, and the capability by name."""
    ended = machine.run(need("setpriv"), "--bounding-set=-sys_admin", *DIAG, "tcpdump", str(net.pid), run=False)

    assert ended.status == 3
    assert "--cap-add=SYS_ADMIN" in ended.stderr


def test_tcpdump_is_not_root(net: Network, machine: Machine) -> None:
    """While it listens it has dropped root's rights."""
    with capturing(net, machine):
        found = [path for path in Path("/proc").glob("[0-9]*") if _is_tcpdump_in(path, net.pid)]
        assert found
        end = time.monotonic() + TIMEOUT_S
        while any(_is_root(path) for path in found):  # it opens its socket first
            assert time.monotonic() < end
            time.sleep(0.02)


def _is_root(path: Path) -> bool:
    status = (path / "status").read_text()
    return "\nUid:\t0\t" in status or "\nCapEff:\t0000000000000000\n" not in status


def _is_tcpdump_in(path: Path, pid: int) -> bool:
    try:
        same = (path / "ns/net").readlink() == Path(f"/proc/{pid}/ns/net").readlink()
        return same and (path / "comm").read_text() == "tcpdump\n"
    except OSError:
        return False


def test_the_size_is_a_limit(net: Network, machine: Machine) -> None:
    """It ends when the file is full, keeps whole packets, and says so."""
    process = _beginning(net, machine, "--max-size", "64K", "--payload", "full")
    net.python(TALK % 200)
    _, stderr = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0
    pcap = next(machine.home.rglob("packets.pcap"))
    assert 60_000 < pcap.stat().st_size <= 64 << 10
    assert "ended early at 65536 bytes" in stderr
    assert len(tshark(pcap, "frame", "frame.number")) == summary_of(pcap.parent)["packets"]


def test_a_ring_keeps_the_last(net: Network, machine: Machine) -> None:
    """With --ring it goes on, and the last packets are the ones that stay."""
    with capturing(net, machine, "--ring", "--max-size", "64K", "--payload", "full") as heard:
        net.python(TALK % 200)

    payloads = [bytes.fromhex(data)[:4] for (data,) in tshark(heard.pcap, "udp.length > 1000", "data.data")]
    numbers = [int.from_bytes(data, "big") for data in payloads]
    assert numbers == list(range(numbers[0], 200))
    assert numbers[0] > 100
    assert heard.summary["forgotten"] == numbers[0]
    assert 32 << 10 <= heard.pcap.stat().st_size <= 64 << 10


def _beginning(net: Network, machine: Machine, *options: str, pid: int = 0) -> subprocess.Popen[str]:
    """The command, once it listens."""
    process = machine.start(*DIAG, "tcpdump", str(pid or net.pid), "-d", "300", *options, run=False)
    until(process, lambda: hears(net))
    return process


def test_the_process_may_end_meanwhile(net: Network, machine: Machine) -> None:
    """What there is is kept, and the capture says that it ended."""
    target = net.start("sleep", "infinity")
    process = _beginning(net, machine, pid=target.pid)
    net.python(TALK % 2)

    target.kill()
    _, stderr = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0, stderr
    assert "the process ended after" in stderr
    assert machine.only_capture()["incomplete"][0]["section"] == "packets"


def test_tshark_names_the_other_protocols(net: Network, machine: Machine) -> None:
    """What we do not decode has a name where tshark knows it; it does not run as root."""
    need("tshark")

    with capturing(net, machine) as heard:
        net.python("import socket; socket.socket(2, 2).sendto(b'\\x1b' + b'\\0' * 47, ('127.0.0.1', 123))")

    layers = {one["name"]: one["packets"] for one in heard.summary["layers"]}
    assert layers["ntp"] == 1
    assert layers["udp"] == 2


def test_the_doctor_says_whether_it_works(net: Network, machine: Machine) -> None:
    """`diag doctor INSTANCE` has a line for it, and what it calls working works."""
    answer = machine.diag("doctor", str(net.pid), "--json")

    checks = {one["name"]: one for one in json.loads(answer.stdout)["checks"]}
    assert checks["tcpdump"]["outcome"] == "works"
    assert machine.diag("tcpdump", str(net.pid), "-d", "0.3").status == 0


def test_two_at_once_are_refused(net: Network, machine: Machine) -> None:
    """The second one is told so, and the first one goes on."""
    process = _beginning(net, machine)

    second = machine.diag("tcpdump", str(net.pid))

    assert second.status == 1
    assert "under way" in second.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0


def test_a_stopped_process_stays_stopped(net: Network, machine: Machine) -> None:
    """Its network is listened to all the same."""
    target = net.start("sleep", "infinity")
    target.send_signal(signal.SIGSTOP)
    os.waitpid(target.pid, os.WUNTRACED)

    ended = machine.diag("tcpdump", str(target.pid), "-d", "0.3")

    assert ended.status == 0
    assert Path(f"/proc/{target.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_shared_network_is_said(machine: Machine, sleeper: subprocess.Popen[bytes]) -> None:
    """Where others talk over the same network, the capture says so."""
    ended = machine.diag("tcpdump", str(sleeper.pid), "-d", "0.3", "udp port 9")

    assert ended.status == 0
    assert "shares its network" in ended.stderr
    assert "--own" in machine.only_capture()["incomplete"][0]["reason"]


def test_what_diag_says_itself_is_left_out(machine: Machine, sleeper: subprocess.Popen[bytes]) -> None:
    """Deliveries to a viewer are not the instance's, where both are in one network."""
    machine.environment["DIAG_STORE"] = "http://127.0.0.1:9"

    ended = machine.diag("tcpdump", str(sleeper.pid), "-d", "0.3")

    assert ended.status == 5  # nobody takes it there
    assert summary_of(next(machine.home.rglob("summary.json")).parent)["filter"] == (
        "not (host 127.0.0.1 and tcp port 9)"
    )


OWN = """
import socket
s = socket.socket(2, 2)
s.bind(("127.0.0.1", 4141))
print("ready", flush=True)
while True:
    s.recv(100)
"""


def test_own_narrows_it_to_the_sockets_of_the_process(net: Network, machine: Machine) -> None:
    """With --own only ports that the process has are listened to; without any it refuses."""
    target = net.start(sys.executable, "-c", OWN, stdout=subprocess.PIPE)
    assert target.stdout
    assert target.stdout.readline()

    process = _beginning(net, machine, "--own", pid=target.pid)
    net.python("import socket; s = socket.socket(2, 2); [s.sendto(b'x', ('127.0.0.1', p)) for p in (4141, 4142)]")
    target.kill()
    process.communicate(timeout=TIMEOUT_S)

    summary = summary_of(next(machine.home.rglob("summary.json")).parent)
    assert summary["filter"] == "(port 4141)"
    assert machine.diag("tcpdump", str(net.pid), "--own").status == 2


SAID = """
import socket
a, b = socket.socket(), socket.create_server(("127.0.0.1", 8000))
a.connect(("127.0.0.1", 8000))
a.sendall(b"GET /bovine HTTP/1.1\\r\\nCookie: porcine\\r\\n\\r\\n")
b.accept()[0].recv(1000)
"""


@pytest.mark.parametrize(("payload", "kept"), [("none", (0, 0)), ("heads", (1, 0)), ("full", (1, 1))])
def test_the_payload_is_what_was_asked_for(net: Network, machine: Machine, payload: str, kept: tuple[int, int]) -> None:
    """None of it, heads without values, or all of it; and the summary says which."""
    with capturing(net, machine, "--payload", payload) as heard:
        net.python(SAID)

    content = heard.pcap.read_bytes()
    assert (content.count(b"bovine"), content.count(b"porcine")) == kept
    assert heard.summary["payload"] == payload
    assert ("WHOLE PAYLOADS" in heard.stdout) == (payload == "full")
