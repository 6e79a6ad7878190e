"""For programs that are to die in an agent's sight, however long that takes to start."""
import os
import time


def wait_until_known():
    """Return when the agent has taken this process's black box to itself; at once where no probe is linked."""
    path = os.environ.get("DIAG_PROBE_SOCKET")
    boxes = os.path.join(os.path.dirname(path), "bb") if path else ""
    until = time.monotonic() + 60
    while path and time.monotonic() < until and any(name.startswith("%d-" % os.getpid()) for name in os.listdir(boxes)):
        time.sleep(0.01)
