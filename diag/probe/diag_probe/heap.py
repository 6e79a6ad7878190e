"""A cheap look at the interpreter's heap, as numbers."""

import gc
import sys
from time import time


def look_at_heap(walk=False):
    """The HEAP record; `walk` adds the allocated blocks, for which CPython walks every arena."""
    heap = {
        "time": time(),
        "gcCounts": list(gc.get_count()),
        "gcStats": gc.get_stats(),
        "gcThresholds": list(gc.get_threshold()),
        "gcEnabled": gc.isenabled(),
    }
    if walk:
        heap["allocatedBlocks"] = sys.getallocatedblocks()
    return heap


def answer(frame, arguments):
    """The same, for diag."""
    return look_at_heap(walk=True)
