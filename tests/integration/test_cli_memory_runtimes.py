"""`diag memory` of Node and Go: they tell it themselves, and stay as they were."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machine import PROGRAMS, need

from diag.collectors import sockets
from diag.profiles import formats, heapsnapshot, tables
from diag.profiles.model import Profile


@pytest.fixture
def node(begin: Callable) -> subprocess.Popen[str]:
    """A Node that keeps ever more, with its inspector at a port of its own when it is opened."""
    process: subprocess.Popen[str] = begin(need("node"), "--inspect-port=0", str(PROGRAMS / "growing.js"))
    return process


def kept(home: Path, name: str) -> bytes:
    """A file of the only capture."""
    (path,) = home.rglob(f"store/v1/**/{name}")
    return path.read_bytes()


def summary(home: Path) -> dict[str, Any]:
    """The summary of the only capture."""
    found: dict[str, Any] = json.loads(kept(home, "memory.json"))
    return found


def below(one: Profile, function: str, column: str) -> int:
    """The bytes that were allocated in this function and in what it calls."""
    found = tables.by_frame(one, one.column(column), lambda frame: frame.function.rpartition(".")[2])
    return found[function].total if function in found else 0


def test_node_allocations(node: subprocess.Popen[str], diag: Callable, home: Path) -> None:
    """What was allocated meanwhile and is kept, by function; the heap's growth; the inspector is closed again."""
    answer = diag("memory", str(node.pid), "-d", "2")

    assert answer.returncode == 0, answer.stderr
    assert "three lines to its stderr" in answer.stderr
    one = formats.read(kept(home, "profile.pb.gz"))
    assert below(one, "load", "inuse_space") > 0.5 * one.total(one.column("inuse_space")) > 0
    assert "growing.js" in answer.stdout
    found = summary(home)
    assert found["heap"]["used"] > 0
    assert found["mappings"]["process"]["growth"]["rss"] != 0
    assert sockets.listening(node.pid) == []


def test_node_snapshot(node: subprocess.Popen[str], diag: Callable, home: Path) -> None:
    """Objects by constructor, and a file for Chrome's tools that has the names, and nothing that strings say."""
    answer = diag("memory", str(node.pid), "-d", "0", "--snapshot")

    assert answer.returncode == 0, answer.stderr
    assert "the snapshot stops it" in answer.stderr
    orders = next(row for row in summary(home)["types"]["rows"] if row["name"] == "Order")
    assert orders["count"] >= 50
    content = kept(home, "heap.heapsnapshot")
    assert b"hunter2" not in content
    assert b'"Order"' in content
    assert b'"line"' in content
    snapshot = heapsnapshot.read(content)
    assert ("Order", orders["count"], orders["bytes"]) in heapsnapshot.types(snapshot)
    assert sockets.listening(node.pid) == []


def test_go_heap(begin: Callable, go_program: Path, diag: Callable, home: Path) -> None:
    """What is in use by function, what was allocated in all, and what grew between two looks."""
    child = begin(go_program)

    answer = diag("memory", str(child.pid), "-d", "1")

    assert answer.returncode == 0, answer.stderr
    one = formats.read(kept(home, "profile.pb.gz"))
    names = [kind.name for kind in one.sample_types]
    assert set(names) == {f"{what}_{unit}" for what in ("inuse", "alloc", "growth") for unit in ("objects", "space")}
    assert one.column() == one.column("inuse_space")
    assert below(one, "keep", "alloc_space") >= 32 << 20
    assert "keep (profiled_live.go)" in answer.stdout
    told = [allocations["sample_type"]["name"] for allocations in summary(home)["allocations"]]
    assert told == ["inuse_space", "growth_space", "alloc_space"]


def test_a_native_program(begin: Callable, diag: Callable, home: Path) -> None:
    """Of what nobody can ask, the mappings tell."""
    child = begin("/bin/sh", "-c", "echo ready; read _", stdin=subprocess.PIPE)

    answer = diag("memory", str(child.pid))

    assert answer.returncode == 0, answer.stderr
    assert "smaps" in answer.stderr
    assert summary(home)["mappings"]["groups"]
