"""`diag ps`, on processes that really run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import TIMEOUT_S, need


def rows(answer: subprocess.CompletedProcess[str]) -> dict[int, dict[str, Any]]:
    """The rows by pid."""
    assert answer.stderr == ""
    assert answer.returncode == 0
    return {row["pid"]: row for row in json.loads(answer.stdout)}


def test_instance_is_a_tree(start: Callable, enlist: Callable, diag: Callable) -> None:
    """An instance's processes stand under it in the order of the tree, and say where the probe is."""
    child = start("family.py")
    worker, grandchild = (int(word) for word in child.stdout.readline().split())
    target = enlist(child.pid, "shop", linked=(child.pid, worker))

    found = rows(diag("ps", "--json"))

    assert list(found)[:3] == [child.pid, worker, grandchild]
    mine = [found[pid] for pid in (child.pid, worker, grandchild)]
    assert [row["probe"] for row in mine] == ["linked", "linked", "absent"]
    assert {row["instance"] for row in mine} == {"shop"}
    assert {row["instance_id"] for row in mine} == {target.instance_id}
    assert [row["parent_pid"] for row in mine] == [os.getpid(), child.pid, worker]
    assert all(row["runtime"].startswith("python 3.") and row["rss_bytes"] > 0 for row in mine)
    assert all(0 <= row["uptime_s"] < 3600 for row in mine)


def test_an_idle_agent_is_named_as_what_it_is(diag: Callable) -> None:
    """It is one row, with its command; the helper process that it forks is nothing of anybody's."""
    agent = subprocess.Popen([sys.executable, "-m", "diag", "agent"], stderr=subprocess.PIPE, text=True)
    try:
        assert "this agent serves" in agent.stderr.readline()  # and so it has forked
        helpers = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        found = rows(diag("ps", "--json"))
    finally:
        agent.terminate()
        agent.communicate(timeout=TIMEOUT_S)

    assert found[agent.pid]["name"] == "diag agent"
    assert helpers
    assert not set(found) & set(map(int, helpers))


def test_table_shows_the_tree_and_the_others(start: Callable, enlist: Callable, diag: Callable) -> None:
    """The table says it in words that need no colour, instances first, and names a script by its file."""
    child = start("family.py")
    child.stdout.readline()
    other = start("sleeping_threads.py", "--an-option")
    enlist(child.pid, "shop", linked=(child.pid,))

    answer = diag("ps", COLUMNS="80")

    lines = answer.stdout.splitlines()
    titles = [word for word in lines[0].split() if word != "CONTAINER"]
    assert titles == [
        "NAME",
        "PID",
        "RUNTIME",
        "UPTIME",
        "MEMORY",
        "PROBE",
    ]
    assert lines[1].split()[:2] == ["shop", str(child.pid)]
    assert lines[1].endswith("linked")
    assert lines[2].startswith("└ python")
    assert lines[3].startswith("  └ python")
    (line,) = [line for line in lines if f" {other.pid} " in line]
    assert line.startswith("sleeping_threads.py")
    assert line.rstrip().endswith("absent")
    assert "\x1b" not in answer.stdout
    assert max(len(line) for line in lines) <= 80


def test_other_runtimes(diag: Callable) -> None:
    """Node processes are listed, native ones are not."""
    node = [need("node"), "-e", "console.log('ready'); process.stdin.resume()"]
    with subprocess.Popen(node, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as native:
            assert child.stdout is not None
            child.stdout.readline()

            found = rows(diag("ps", "--json"))

    assert (found[child.pid]["runtime"], found[child.pid]["name"]) == ("node", "node -e")
    assert native.pid not in found


def test_instance_that_is_gone_is_not_listed(start: Callable, enlist: Callable, diag: Callable) -> None:
    """The folder of an instance that ended is no instance."""
    child = start("sleeping_threads.py")
    enlist(child.pid, "shop")
    child.kill()
    child.wait()

    assert not [row for row in rows(diag("ps", "--json")).values() if row["instance"] == "shop"]


def test_hostile_name_is_shown_and_not_obeyed(start: Callable, diag: Callable) -> None:
    """A script's name with escapes reaches the terminal as text."""
    child = start("hostile_name.py")

    answer = diag("ps")

    assert str(child.pid) in answer.stdout
    assert "\x1b" not in answer.stdout
