"""`python -m faults`: every kind on every Python, as a table; fails on any difference."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from machine import VERSIONS, fault_library, find_python

from faults import table
from faults.catalogue import faults
from faults.fault import Fault
from faults.trial import Outcome, run
from faults.under import WAYS, Under

TOGETHER = 2
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="faults", description="What is left of each way to die?")
    parser.add_argument("--only", metavar="WORDS", default="", help="kinds whose family or name has these words")
    parser.add_argument("--python", action="append", choices=VERSIONS, help="by default every one there is")
    parser.add_argument("--sample", action="store_true", help="each kind on one Python, which take turns")
    parser.add_argument("--under", choices=WAYS, default="diag", help="what the machine is like")
    parser.add_argument("--page", action="store_true", help="print the tables of docs/faults.md, and run nothing")
    asked = parser.parse_args()
    if asked.page:
        print(table.page(faults()), end="")
        return 0
    pythons = {version: found for version in asked.python or VERSIONS if (found := find_python(version))}
    chosen = [fault for fault in faults() if asked.only in fault.full_name and _is_there(fault, asked.under)]
    began = time.monotonic()
    wrong = _run(chosen, pythons, WAYS[asked.under], sample=asked.sample)
    print("\n".join(wrong))
    print(f"{len(chosen)} kinds, {time.monotonic() - began:.0f} s: {'NOT ' if wrong else ''}all as wanted")
    return 1 if wrong else 0


def _is_there(fault: Fault, under: str) -> bool:
    if (fault.bare and under == "container") or (fault.parental and under == "agent"):
        return False
    return (os.geteuid() == 0 or not fault.root) and (not fault.needs or Path(fault.needs).exists())


def _run(chosen: Sequence[Fault], pythons: Mapping[str, str], under: Under, *, sample: bool) -> list[str]:
    """Print a row for each; returns what is wrong."""
    wrong: list[str] = []
    # Under a short name, because a Unix socket's path ends at 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="df", dir="/tmp"))
    try:
        library = fault_library(folder)
        print(table.head(pythons), flush=True)
        with ThreadPoolExecutor(TOGETHER) as pool:
            started: list[tuple[Fault, dict[str, Future[Outcome]]]] = []
            for turn, fault in enumerate(chosen):
                where = _pythons_of(fault, pythons)
                if sample and where:
                    version = list(where)[turn % len(where)]
                    where = {version: where[version]}
                started.append((fault, {v: pool.submit(run, fault, path, library, under) for v, path in where.items()}))
            for fault, trials in started:
                outcomes = {version: trial.result() for version, trial in trials.items()}
                print(table.row(fault, outcomes, pythons, joined=under.joined), flush=True)
                wrong += table.differences(fault, outcomes)
    finally:
        shutil.rmtree(folder)
    return wrong


def _pythons_of(fault: Fault, pythons: Mapping[str, str]) -> dict[str, str]:
    """Where this kind is there."""
    if fault.own:
        return {OWN: sys.executable} if OWN in pythons else {}
    return {version: path for version, path in pythons.items() if fault.runs_on(version)}


if __name__ == "__main__":
    sys.exit(main())
