"""So many threads that wait, the main one among them, until standard input ends."""

from __future__ import annotations

import os
import sys
import threading

done = threading.Event()
threads = [threading.Thread(target=done.wait, daemon=True) for _ in range(int(sys.argv[1]) - 1)]
for thread in threads:
    thread.start()
os.write(1, b"ready\n")
os.read(0, 1)
