"""`python -m durability`: the campaign, in a mount namespace of its own where it may have one."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from durability.campaign import run
from durability.disks import INSIDE
from durability.families import FAMILIES

FULL = 3200


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="durability", description="Is anything captured ever lost?")
    parser.add_argument("--trials", type=int, default=FULL, help=f"about so many, {FULL} by default")
    parser.add_argument("--only", action="append", choices=FAMILIES, metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--seed", type=int, help="repeats a campaign; by chance where it is not given")
    parser.add_argument("--trial", default="", metavar="FAMILY/NAME", help="one trial alone, with --seed")
    asked = parser.parse_args()
    if not shutil.which("strace"):
        raise SystemExit("strace is not installed; `make durability` as root installs it.")
    if INSIDE not in os.environ and _may_go_inside():
        _go_inside()
    signal.signal(signal.SIGTERM, _stop)
    families = [asked.trial.split("/")[0]] if asked.trial else asked.only or list(FAMILIES)
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    return _campaign(seed, asked.trials, families, asked.trial)


def _campaign(seed: int, count: int, families: list[str], trial: str) -> int:
    began, owner = time.monotonic(), os.getpid()
    # Under a short name, because a Unix socket's path ends at 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="dd", dir="/tmp"))
    try:
        if INSIDE in os.environ:  # memory, which is quick, and is gone with the namespace
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "none", str(folder)], check=True)
        print(f"seed {seed}", file=sys.stderr, flush=True)
        summary = run(folder / "w", seed, count, families, trial)
    finally:
        if os.getpid() == owner:
            subprocess.run(["umount", "--lazy", str(folder)], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(folder, ignore_errors=True)
    print(summary.table())
    for line in summary.repeats():
        print(line)
    print(f"seed {seed}, {time.monotonic() - began:.0f} s: {'NOT ' if summary.failures else ''}all promises kept")
    return 1 if summary.failures else 0


def _may_go_inside() -> bool:
    """Root may, but not in every container."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def _go_inside() -> NoReturn:
    """Whatever is mounted from here on is unmounted by the kernel when the last process of this is gone."""
    os.environ[INSIDE] = "1"
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "durability", *sys.argv[1:]]
    os.execvp("unshare", command)


def _stop(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
