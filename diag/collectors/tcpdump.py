"""Packets of an instance's network namespace by tcpdump: only that namespace is entered, and nothing of the process."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from diag.collectors import external, network, tshark
from diag.collectors.asked import PacketsAsked
from diag.collectors.collector import Collected, Made, Subject, Watch
from diag.collectors.pcap_sink import PcapSink
from diag.collectors.procfs import ProcFolder, parse_stat
from diag.errors import CannotAttach, NoSuchInstance, ToolFailed, ToolMissing, UsageError
from diag.model import Missing

RAW_NAME = ".packets.pcap"  # what it holds is not fit to be kept as it is
LINK = "LINUX_SLL2"  # what `-i any` yields: it says the interface of each packet
GRACE_S = 10.0
BUFFER_KIB = 16_384
_DROPPED_TO = ("tcpdump", "nobody")
_STATISTICS = re.compile(r"(\d+) packets? (captured|received by filter|dropped by kernel|dropped by interface)")
_ADVICE = (
    "Run as root, or add the capability (docker: --cap-add=NET_RAW), or give it to the tool alone: "
    "setcap cap_net_raw+ep $(command -v tcpdump)."
)
_ENTER_ADVICE = "Run as root, or add CAP_SYS_ADMIN (docker: --cap-add=SYS_ADMIN), or run diag inside the container."


class Tcpdump:
    """`tcpdump -i any`, as an unprivileged user where it is started by root."""

    engine = "tcpdump"

    def __init__(self, asked: PacketsAsked) -> None:
        self._asked = asked

    def check(self, subject: Subject) -> str:
        """tcpdump is there, the namespace may be entered and listened to, and the filter is one."""
        tcpdump = _tool("tcpdump", "apt-get install tcpdump")
        ours = _is_ours(subject.pid)
        if not ours:
            self._check_entering(subject.pid)
        elif not _may_listen(tcpdump):
            raise CannotAttach("This user may not listen to packets: CAP_NET_RAW is missing.", _ADVICE)
        self._check_filter(tcpdump)
        whose = "the network that it shares with this process" if ours else "its network namespace"
        return f"listens to {whose}, at {self._asked.snaplen} bytes a packet; the instance is not touched"

    def collect(self, subject: Subject, folder: Path, watch: Watch) -> Collected:
        """The packets of this time. Raises ToolFailed where tcpdump did not listen at all."""
        asked = self._asked
        ours = _is_ours(subject.pid)
        expression = self._expression(subject.pid, ours)
        sink = PcapSink(folder / RAW_NAME, asked.max_bytes, ring=asked.ring)
        gone: list[float] = []

        def enough(elapsed_s: float) -> bool:
            watch.show(elapsed_s / asked.duration_s, f"{sink.size / 1e6:.1f} MB")
            if not gone and _is_gone(subject):
                gone.append(elapsed_s)
            return bool(watch.stop.is_set() or elapsed_s >= asked.duration_s or sink.full or gone)

        try:
            with nullcontext("") if ours else network.held(subject.pid) as namespace:
                ran = external.record(
                    self._command(namespace, expression),
                    limit_s=asked.duration_s,
                    grace_s=GRACE_S,
                    enough=enough,
                    take=sink.take,
                )
        finally:
            sink.close()
        counts = {name: int(number) for number, name in _STATISTICS.findall(ran.stderr)}
        if not sink.size:
            raise ToolFailed(f"tcpdump took no packets of process {subject.pid}: {ran.stderr or ran.status}")
        facts: dict[str, Any] = {
            "captured": sink.packets,
            "forgotten": sink.forgotten,
            "dropped": counts.get("dropped by kernel"),
            "dropped_by_interface": counts.get("dropped by interface", 0),
            "filter": expression,
            "shared": ours,
            "snaplen": asked.snaplen,
            "full": sink.full and not sink.trouble,
            "standing": subject.standing,
        }
        missing = self._missing(facts, sink, gone)
        try:
            facts["layers"] = tshark.layers(folder / RAW_NAME)
        except ToolFailed as error:
            missing += (Missing("packets.layers", str(error)),)
        made = Made(folder / RAW_NAME, "packets", "pcap", "application/vnd.tcpdump.pcap")
        return Collected((made,), f"tcpdump {_version()}", facts, incomplete=missing)

    def _missing(self, facts: dict[str, Any], sink: PcapSink, gone: list[float]) -> tuple[Missing, ...]:
        found = []
        if facts["shared"] and not self._asked.own:
            words = (
                "the process shares its network with this machine's others: their traffic is among it; --own narrows"
            )
            found.append(words)
        if self._asked.own:
            found.append("only sockets that the process had when it began: later connections of its own are not in it")
        if facts["full"]:
            found.append(f"ended early at {self._asked.max_bytes} bytes; --max-size or --ring say otherwise")
        if sink.trouble:
            found.append(f"ended early, because the file could not be written: {sink.trouble}")
        if gone:
            found.append(f"the process ended after {gone[0]:.1f} s")
        if facts["dropped"] is None:
            found.append("tcpdump did not say how many packets it lost")
        elif facts["dropped"]:
            found.append(f"{facts['dropped']} packets came faster than tcpdump took them; a filter makes it less")
        return tuple(Missing("packets", words) for words in found)

    def _check_entering(self, pid: int) -> None:
        """Enters it with a program that does nothing."""
        nsenter = _tool("nsenter", "apt-get install util-linux")
        with network.held(pid) as namespace:
            ran = external.run([nsenter, f"--net={namespace}", "--", "/bin/true"], timeout_s=GRACE_S)
        if ran.status != 0:
            raise CannotAttach(f"The network namespace of process {pid} cannot be entered.", _ENTER_ADVICE)

    def _check_filter(self, tcpdump: str) -> None:
        """Compiles it. tcpdump's own words say what is wrong with it."""
        words = " ".join(self._asked.filter)
        if "\0" in words:
            raise UsageError("The filter holds a NUL.", _FILTER_ADVICE)
        ran = external.run([tcpdump, "-d", "-y", LINK, "--", words], timeout_s=GRACE_S)
        if ran.status != 0:
            said = ran.stderr.partition("tcpdump: ")[2] or ran.stderr
            raise UsageError(f"tcpdump does not take the filter {words!r}: {said}", _FILTER_ADVICE)

    def _expression(self, pid: int, ours: bool) -> str:
        """The filter as a whole. It is one argument behind `--`, so that no word of it can be an option."""
        parts = [f"({' '.join(self._asked.filter)})"] if self._asked.filter else []
        if self._asked.own:
            ports = network.ports_of(pid)
            if not ports:
                raise UsageError(f"Process {pid} has no TCP or UDP socket now.", "Leave out --own.")
            parts.append("(" + " or ".join(f"port {port}" for port in ports) + ")")
        # In another namespace the same address may be somebody else's.
        parts += [f"not (host {host} and tcp port {port})" for host, port in (self._asked.apart if ours else ())]
        return " and ".join(parts)

    def _command(self, namespace: str, expression: str) -> list[str]:
        enter = [_tool("nsenter", "apt-get install util-linux"), f"--net={namespace}", "--"] if namespace else []
        command = [_tool("tcpdump", "apt-get install tcpdump"), "-i", "any", "-y", LINK, "-n", "-U", "-w", "-"]
        command += ["-s", str(self._asked.snaplen), "-B", str(BUFFER_KIB)]
        if os.geteuid() == 0:
            command += ["-Z", _unprivileged()]
        return [*enter, *command, "--", expression]


_FILTER_ADVICE = "pcap-filter(7) describes filters, such as: tcp port 80, host 10.0.0.7 and not port 22."


def _tool(name: str, advice: str) -> str:
    # Debian keeps tcpdump where only root's PATH leads.
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        raise ToolMissing(f"{name} is not installed.", advice)
    return path


def _version() -> str:
    ran = external.run([_tool("tcpdump", ""), "--version"], timeout_s=GRACE_S)
    found = re.search(r"tcpdump version (\S+)", ran.stdout.decode("utf-8", "replace") + ran.stderr)
    return found[1] if found else ""


def _is_ours(pid: int) -> bool:
    try:
        return network.is_ours(pid)
    except PermissionError:
        raise CannotAttach(f"The network namespace of process {pid} cannot be seen.") from None


def _is_gone(subject: Subject) -> bool:
    """Whether the process has ended; a zombie has."""
    try:
        with ProcFolder(subject.pid) as folder:
            fields = parse_stat(folder.read("stat"))[1]
    except (NoSuchInstance, FileNotFoundError, ProcessLookupError):
        return True
    return fields[0] in ("Z", "X") or int(fields[19]) != subject.start_ticks


def _may_listen(tcpdump: str) -> bool:
    """Whether a packet socket is granted to us, or to the tool by its file. With protocol 0 it hears nothing."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return "security.capability" in os.listxattr(tcpdump)
    return True


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in _DROPPED_TO if name in names), "root")
