"""A server whose workers die at once and are started again: crash_loop.py TIMES. It prints the pid of each."""
import os
import sys

for number in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        if number == 50:
            raise KeyError("once")
        raise RuntimeError("worker %d" % os.getpid())  # MARK: crash
    os.waitpid(pid, 0)
    print(pid, flush=True)
