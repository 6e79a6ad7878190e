"""What `diag tcpdump` costs a server beside bare tcpdump, and what its decoding costs beside tshark."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure import DIAG, Table, attend, by_chance, cpu_s, median, scratch
from targets import Target, serving

from diag.collectors import external

NOTHING, OURS, BARE = "nothing", "diag tcpdump", "tcpdump"
SNAPLEN = "1600"  # as `diag tcpdump` has it where nothing is said
# Reads the file, blanks it in place, and prints the CPU seconds of that alone.
READ = """
import sys, time
from pathlib import Path
from diag.packets.read import read
from diag.redact import Redactor
began = time.process_time()
reading = read(Path(sys.argv[1]), "heads", Redactor())
print(reading.packets, "packets,", time.process_time() - began, "s")
"""


@dataclass
class Seen:
    """What the rounds of one variant brought."""

    rates: list[float] = field(default_factory=list)  # requests a second
    speeds: list[float] = field(default_factory=list)  # requests for each CPU second of the server
    cores: list[float] = field(default_factory=list)
    peaks_mb: list[float] = field(default_factory=list)
    packets: float = 0
    lost: float = 0


def measure(*, quick: bool) -> list[Table]:
    """A server that is asked without a pause, with nothing, ours and bare tcpdump in turns; then the decoding."""
    if external.find("tcpdump") is None:
        return []
    seconds, rounds = (4, 1) if quick else (10, 5)
    seen = {name: Seen() for name in (NOTHING, OURS, BARE)}
    with scratch() as kept:
        pcap = Path(kept["HOME"]) / "kept.pcap"
        for _ in range(rounds):
            for name in by_chance(seen):
                _round(name, seen[name], seconds, pcap)
        return [_costs(seen, seconds), _decoding(pcap, kept)]


def _round(name: str, seen: Seen, seconds: int, pcap: Path) -> None:
    with scratch() as environment, serving(environment) as target:
        said = Path(environment["HOME"]) / "said"
        command = _command(name, target, str(seconds), pcap)
        done, cpu, began = target.work(), cpu_s([target.pid]), time.monotonic()
        used, peak = attend(command, environment, said)
        done, cpu, passed = target.work() - done, cpu_s([target.pid]) - cpu, time.monotonic() - began
        words = said.read_text()
    seen.rates.append(done / passed)
    seen.speeds.append(done / cpu)
    seen.cores.append(used / seconds)
    seen.peaks_mb.append(peak)
    seen.packets += _number(r"(\d+) packets", words)
    seen.lost += _number(r"(\d+) (?:packets dropped by kernel|lost)", words)


def _command(name: str, target: Target, seconds: str, pcap: Path) -> Sequence[str]:
    words = ("port", str(target.port))
    if name == OURS:
        return (*DIAG, "tcpdump", str(target.pid), "-d", seconds, *words)
    if name == BARE:
        tool = external.find("tcpdump") or ""
        options = ("-i", "any", "-n", "-U", "-s", SNAPLEN, "-Z", "root", "-w", str(pcap))
        return ("timeout", "-s", "INT", seconds, tool, *options, *words)
    return ("sleep", seconds)


def _costs(seen: dict[str, Seen], seconds: int) -> Table:
    bare = seen[NOTHING]
    rows = [
        (
            name,
            f"{median(one.rates) / median(bare.rates):.2f}",
            f"{median(one.speeds) / median(bare.speeds):.2f}",
            f"{median(one.cores):.2f}",
            f"{median(one.peaks_mb):.0f}",
            f"{one.packets:,.0f}" if one.packets else "",
            f"{one.lost:,.0f}" if one.packets else "",
        )
        for name, one in seen.items()
    ]
    notes = [
        f"{median(bare.rates):.0f} requests a second with nothing. speed: requests for each CPU second of the server.",
        f"cores and MB: of the tool, its start, its end and the decoding included, over {seconds} s.",
    ]
    columns = ("", "requests/s", "speed", "cores", "MB", "packets", "lost")
    return Table("Packets of a process that serves", columns, rows, notes)


def _decoding(pcap: Path, environment: dict[str, str]) -> Table:
    said, size_mb = Path(environment["HOME"]) / "said", pcap.stat().st_size / 1e6
    rows = []
    if tshark := external.find("tshark"):
        used, peak = attend((tshark, "-n", "-q", "-r", str(pcap), "-z", "http,tree"), environment, said)
        rows.append(("tshark -z http,tree", used, peak))
    _, peak = attend((sys.executable, "-c", READ, str(pcap)), environment, said)
    words = said.read_text()
    packets, own = _number(r"(\d+) packets", words), _number(r"([\d.]+) s", words)
    rows.insert(0, ("diag, decoded and blanked", own, peak))
    shown = [(name, f"{used / packets * 100_000:.1f}", f"{peak:.0f}") for name, used, peak in rows]
    notes = [f"A file of {packets:,.0f} packets, {size_mb:.0f} MB. CPU s: for each 100,000 packets."]
    return Table("Decoding of packets", ("", "CPU s", "MB"), shown, notes)


def _number(pattern: str, words: str) -> float:
    found = re.search(pattern, words)
    return float(found[1]) if found else 0.0
