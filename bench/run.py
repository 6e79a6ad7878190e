"""Runs every measurement and prints one table each: bench/run.py [--quick] [--only NAME]…

A missed budget is printed, and is no failure: on a machine that does something else too, figures move.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import crash
import index
import memory
import ondemand
import packets
import profiles
import spool
import stacks
import startup
import throughput
import upload

MEASUREMENTS = {
    "throughput": throughput.measure,
    "startup": startup.measure,
    "crash": crash.measure,
    "memory": memory.measure,
    "spool": spool.measure,
    "index": index.measure,
    "profiles": profiles.measure,
    "upload": upload.measure,
    "ondemand": ondemand.measure,
    "packets": packets.measure,
    "stacks": stacks.measure,
}


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description="What diag costs, beside its peers, measured in the same run.")
    parser.add_argument("--quick", action="store_true", help="fewer samples, in 90 s: for the look of it")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="where the databases of `index` stay, to measure again"
    )
    options = parser.parse_args()
    more = {"index": {"keep": options.keep}}
    began = time.monotonic()
    print(f"{platform.python_implementation()} {platform.python_version()}, {machine()}\n", flush=True)
    missed = 0
    for name, measure in MEASUREMENTS.items():
        if options.only and name not in options.only:
            continue
        for table in measure(quick=options.quick, **more.get(name, {})):
            print(table.text(), flush=True)
            missed += sum("MISSED" in row[-1] for row in table.rows)
    print(f"{missed or 'No'} row(s) missed a budget. {time.monotonic() - began:.0f} s.")
    return 0


def machine() -> str:
    """What it ran on, as far as it matters for the figures."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f} at the start"


if __name__ == "__main__":
    sys.exit(main())
