"""The machine that the report was made on, as Node's header and resource usage describe it."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B  # netdevice(7)
_LOOPBACK_NET = ipaddress.ip_network("127.0.0.0/8")
_MOST_INTERFACES = 64
_MOST_CPUS = 1024


@dataclass(frozen=True, slots=True)
class Host:
    """Facts of the machine. Sizes in bytes; `cpus` and `network_interfaces` are Node's lists."""

    os_name: str = ""
    os_release: str = ""
    os_version: str = ""
    os_machine: str = ""
    total_memory: int | None = None
    free_memory: int | None = None
    cpus: list[dict[str, Any]] = field(default_factory=list)
    network_interfaces: list[dict[str, Any]] = field(default_factory=list)


def look() -> Host:
    """The machine now. Reads /proc and /sys; asks no name server."""
    names = os.uname()
    memory = _memory()
    return Host(
        os_name=names.sysname,
        os_release=names.release,
        os_version=names.version,
        os_machine=names.machine,
        total_memory=memory.get("MemTotal"),
        free_memory=memory.get("MemAvailable", memory.get("MemFree")),
        cpus=list(_cpus()),
        network_interfaces=list(_interfaces()),
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _memory() -> dict[str, int]:
    sizes = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            sizes[name] = int(words[0]) * 1024
    return sizes


def _cpus() -> Iterator[dict[str, Any]]:
    models = [line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if "model name" in line]
    tick_ms = 1000 // os.sysconf("SC_CLK_TCK")
    # proc(5), /proc/stat: user nice system idle iowait irq …
    lines = [
        line.split() for line in _read("/proc/stat").splitlines() if line.startswith("cpu") and line[3:4].isdigit()
    ]
    for index, words in enumerate(lines[:_MOST_CPUS]):
        user, nice, system, idle, _, irq = (int(word) * tick_ms for word in words[1:7])
        frequency = _read(f"/sys/devices/system/cpu/{words[0]}/cpufreq/scaling_cur_freq").strip()
        yield {
            "model": models[index] if index < len(models) else "unknown",
            "speed": int(frequency) // 1000 if frequency.isdigit() else 0,
            "user": user,
            "nice": nice,
            "sys": system,
            "idle": idle,
            "irq": irq,
        }


def _interfaces() -> Iterator[dict[str, Any]]:
    names = [name for _, name in socket.if_nameindex()][:_MOST_INTERFACES]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        for name in names:
            address = _ipv4(query, name, _SIOCGIFADDR)
            if address is not None:
                netmask = _ipv4(query, name, _SIOCGIFNETMASK) or "255.255.255.255"
                yield _interface(name, address, netmask, "IPv4", ipaddress.ip_address(address) in _LOOPBACK_NET)
    yield from _ipv6(set(names))


def _ipv4(query: socket.socket, name: str, request: int) -> str | None:
    try:
        answer = fcntl.ioctl(query, request, struct.pack("256s", name.encode()[:15]))
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])


def _ipv6(names: set[str]) -> Iterator[dict[str, Any]]:
    # Columns: address, interface index, prefix length, scope, flags, name (net/ipv6/addrconf.c).
    for line in _read("/proc/net/if_inet6").splitlines():
        words = line.split()
        if len(words) != 6 or words[5] not in names:
            continue
        address = ipaddress.IPv6Address(int(words[0], 16))
        netmask = ipaddress.IPv6Network((0, int(words[2], 16))).netmask
        scope = int(words[1], 16) if address.is_link_local else 0
        entry = _interface(words[5], str(address), str(netmask), "IPv6", address.is_loopback)
        yield {**entry, "scopeid": scope}


def _interface(name: str, address: str, netmask: str, family: str, internal: bool) -> dict[str, Any]:
    mac = _read(f"/sys/class/net/{name}/address").strip() or "00:00:00:00:00:00"
    return {
        "name": name,
        "internal": internal,
        "mac": mac,
        "address": address,
        "netmask": netmask,
        "family": family,
    }
