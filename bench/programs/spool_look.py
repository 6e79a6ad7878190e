"""Does one thing to a spool and prints seconds, CPU seconds and peak RSS in MB: spool_look.py FOLDER WHAT QUOTA."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path

from diag.model import Capture, Instance, new_capture_id, now, stamp
from diag.spool import Spool, id_of


def record(spool: Spool) -> None:
    """Commit one more crash."""
    who = Instance("shop", "shop", "shop-1", "box", 1, stamp(now()))
    capture = Capture(new_capture_id(), "crash", "exception", stamp(now()), who, fingerprint="another")
    with spool.begin(capture) as draft:
        draft.add("report.json", "report", "diag-report", "application/json", b"x" * 5000)
        draft.commit(capture)


WHAT = {
    "nothing": lambda _: None,
    "send": lambda spool: list(islice(spool.pending(), 100)),
    "list": lambda spool: list(islice(spool.newest(), 100)),
    "account": lambda spool: spool.account(),
    "record": record,
    "store": lambda spool: spool.stored(id_of(next(spool.pending()))),
    "recover": lambda spool: spool.recover(),
}


def peak_mb() -> float:
    """VmHWM; ru_maxrss would hold what our parent had before the exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    began, used = time.perf_counter(), time.process_time()
    WHAT[sys.argv[2]](Spool(Path(sys.argv[1]), int(sys.argv[3]), 0))
    print(time.perf_counter() - began, time.process_time() - used, peak_mb())
