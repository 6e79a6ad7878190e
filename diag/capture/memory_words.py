"""What a memory capture says in one line and in three sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.profiles.headline import WORTH_NAMING
from diag.report.reading import duration

# What the columns of a memory profile say, in words.
COLUMNS = {
    "inuse_space": "in use, by where it was allocated",
    "growth_space": "grown meanwhile",
    "peak_space": "in use at the peak",
    "alloc_space": "allocated since the start, given back or not",
}


def title(found: Mapping[str, Any]) -> str:
    """`memory: 12.0 MiB of 40.2 MiB by load (shop.py)`, or by type, or by mapping."""
    allocations, types, mappings = found["allocations"], found["types"], found["mappings"]
    if allocations and (hottest := _hottest(allocations[0])):
        return f"memory: {size(hottest['self'])} of {size(allocations[0]['total'])} by {_function(hottest)}"
    if types and types["rows"]:
        largest = types["rows"][0]
        return f"memory: {size(largest['bytes'])} of {size(types['bytes'])} in {largest['name']}"
    process = mappings["process"]
    grew = f", {signed(process['growth']['rss'])} in {duration(mappings['apart_s'])}" if "growth" in process else ""
    return f"memory: {size(process['rss'])} resident{grew}"


def facts(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Who holds it, what the process takes in all, and what it cost to learn that."""
    return _holder(found), _whole(found["mappings"]), _cost(found)


def size(value: float) -> str:
    """Bytes as people read them: `12.3 MiB`."""
    amount, units = float(value), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if abs(amount) < 1024 or unit == units[-1]:
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def signed(value: float) -> str:
    """Bytes that came or went: `+1.2 MiB`."""
    return f"{'+' if value >= 0 else '−'}{size(abs(value))}"


def _holder(found: Mapping[str, Any]) -> str:
    if found["allocations"] and (_hottest(found["allocations"][0]) or not found["types"]):
        return _by_stack(found["allocations"], found["duration_s"])
    if found["types"] and found["types"]["rows"]:
        return _by_type(found["types"])
    groups = found["mappings"]["groups"]
    if not groups:
        return "It has no mappings."
    largest, rss = groups[0], max(1, found["mappings"]["process"]["rss"])
    words = f"{largest['rss'] / rss * 100:.0f} % of {size(rss)} resident in {_group(largest)}"
    grown = max(groups, key=lambda row: row.get("growth", {}).get("rss", 0))
    grew = grown.get("growth", {}).get("rss", 0)
    return f"{words}; {_group(grown)} grew by {size(grew)}" if grew > 0 else words


def _by_stack(allocations: list[Mapping[str, Any]], seconds: float) -> str:
    first, hottest = allocations[0], _hottest(allocations[0])
    if hottest is None:
        return f"Nothing that was allocated in {duration(seconds)} is still in use."
    share = f"{hottest['self_share'] * 100:.0f} %"
    words = f"{share} of {size(first['total'])} in use was allocated in {_function(hottest)}"
    grown = next((one for one in allocations if one["sample_type"]["name"] == "growth_space"), None)
    peak = next((one for one in allocations if one["sample_type"]["name"] == "peak_space"), None)
    if grown is not None:
        words += f"; {signed(grown['total'])} in {duration(seconds)}"
    if peak is not None and (highest := _hottest(peak)):
        words += f"; at the peak {size(peak['total'])}, most of it in {_function(highest)}"
    return words


def _by_type(types: Mapping[str, Any]) -> str:
    largest, whole = types["rows"][0], max(1, types["bytes"])
    words = f"{largest['bytes'] / whole * 100:.0f} % of {size(whole)} in {largest['count']:,} {largest['name']}"
    words += f" of {types['objects']:,} objects"
    grown = max(types["rows"], key=lambda row: row.get("growth", {}).get("bytes", 0))
    grew = grown.get("growth", {"bytes": 0, "count": 0})
    if grew["bytes"] > 0:
        words += f"; {grown['name']} grew most: {signed(grew['bytes'])}, {grew['count']:+,} objects"
    return words


def _whole(mappings: Mapping[str, Any]) -> str:
    process = mappings["process"]
    words = f"{size(process['rss'])} resident, {size(process['private_dirty'])} of it its own"
    words += f", {size(process['swap'])} in swap" if process["swap"] else ""
    words += f", {size(process['peak_rss'])} at its peak" if "peak_rss" in process else ""
    if "growth" in process:
        words += f"; {signed(process['growth']['rss'])} in {duration(mappings['apart_s'])}"
    return words


def _cost(found: Mapping[str, Any]) -> str:
    pause_s, types = found["cost"]["pause_s"], found["types"] or {}
    words = f"Its main thread stood still for {pause_s * 1000:.0f} ms" if pause_s else "Nothing stood still"
    words += f"; {found['cost']['slowdown']}" if found["cost"]["slowdown"] else ""
    words += f"; {types['cut']}" if types.get("cut") else ""
    return f"{words}; read by {found['engine']}"


def _hottest(allocations: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function that holds most; the program's own one that does, where that is a good part of all."""
    hottest, own = (allocations["facts"][name] for name in ("hottest", "hottest_in_app"))
    found: Mapping[str, Any] | None = own if own and own["self_share"] >= WORTH_NAMING else hottest
    return found if found and found["self"] > 0 else None


def _function(row: Mapping[str, Any]) -> str:
    file = str(row["file"]).rpartition("/")[2]
    return f"{row['function']} ({file})" if file else str(row["function"])


def _group(row: Mapping[str, Any]) -> str:
    name = str(row["name"]).rpartition("/")[2]
    return {"anonymous": "anonymous memory", "heap": "the heap", "stack": "the stack"}.get(name, name)
