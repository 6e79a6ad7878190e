"""What went wrong with connections, with tshark as the oracle."""

from __future__ import annotations

import subprocess
from collections import Counter

from instances import Machine
from machine import missing
from networks import Network, capturing, tshark

TROUBLES = """
import select, socket, struct
listener = socket.create_server(("127.0.0.1", 7000), backlog=0)
for number in range(3):
    try:
        socket.create_connection(("127.0.0.1", 7001))
    except ConnectionRefusedError:
        pass
a = socket.create_connection(("127.0.0.1", 7000))
b, _ = listener.accept()
a.sendall(b"hello")
b.recv(5)
b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
b.close()
c = socket.create_connection(("127.0.0.1", 7000))
d, _ = listener.accept()
c.setblocking(False)
try:
    while True:
        c.send(b"z" * 65536)
except BlockingIOError:
    pass
select.select([], [c], [], 1.5)
while select.select([d], [], [], 0.5)[0]:
    d.recv(1 << 20)
d.close()
c.close()
"""


def counted(summary: dict[str, object], event: str) -> int:
    """How often the event was seen."""
    counts = summary["event_counts"]
    assert isinstance(counts, dict)
    return int(counts.get(event, 0))


def test_refusals_resets_and_full_windows_are_counted(net: Network, machine: Machine) -> None:
    """Each refused connect, reset and full window is told once, as tshark tells them."""
    with capturing(net, machine) as heard:
        net.python(TROUBLES)

    resets = tshark(heard.pcap, "tcp.flags.reset == 1", "tcp.srcport")
    windows = tshark(heard.pcap, "tcp.analysis.zero_window", "tcp.srcport")
    assert counted(heard.summary, "refused") == 3 == Counter(resets)["7001",]
    assert counted(heard.summary, "reset") == len(resets) - 3 >= 1
    assert windows
    assert 1 <= counted(heard.summary, "zero window") <= len(windows)
    assert {one["ended"] for one in heard.summary["conversations"]} >= {"refused", "reset"}


BULK_SERVER = """
import socket
listener = socket.create_server(("127.0.0.1", 7000))
print("ready", flush=True)
while True:
    s, _ = listener.accept()
    while s.recv(1 << 16):
        pass
    s.close()
"""
BULK_CLIENT = """
import socket
for _ in range(3):
    s = socket.create_connection(("127.0.0.1", 7000))
    s.sendall(b"x" * 400_000)
    s.shutdown(socket.SHUT_WR)
    s.recv(1)
    s.close()
"""


def test_retransmissions_are_those_of_tshark(net: Network, machine: Machine) -> None:
    """Where packets are lost behind the place of capture, what is sent again is counted as tshark counts it."""
    lossy = "iptables -A INPUT -p tcp --dport 7000 -m statistic --mode nth --every 25 --packet 0 -j DROP"
    if subprocess.run(net.command(*lossy.split()), capture_output=True, check=False).returncode:
        missing("iptables cannot drop packets here.")
    net.run("ip", "link", "set", "lo", "mtu", "1500")
    net.serve(BULK_SERVER)

    with capturing(net, machine, "--snaplen", "128") as heard:
        net.python(BULK_CLIENT)

    told = tshark(heard.pcap, "tcp.analysis.retransmission", "frame.number")
    assert told
    # Within 3 ms tshark calls it out of order even where the same bytes were seen before.
    quick = tshark(heard.pcap, "tcp.analysis.out_of_order", "frame.number")
    assert counted(heard.summary, "retransmission") >= len(told)
    assert counted(heard.summary, "retransmission") + counted(heard.summary, "out of order") == len(told) + len(quick)


def test_a_connect_without_an_answer_is_told(net: Network, machine: Machine) -> None:
    """A SYN that nobody answers is an event after a second."""
    drop = "iptables -A INPUT -p tcp --dport 7002 -j DROP"
    if subprocess.run(net.command(*drop.split()), capture_output=True, check=False).returncode:
        missing("iptables cannot drop packets here.")
    script = """
import socket
s = socket.socket()
s.settimeout(2)
try:
    s.connect(("127.0.0.1", 7002))
except OSError:
    pass
"""

    with capturing(net, machine) as heard:
        net.python(script)

    assert counted(heard.summary, "unanswered") == 1
    told = next(event for event in heard.summary["events"] if event["event"] == "unanswered")
    assert told["server"] == "127.0.0.1:7002"
