"""Uses faulthandler itself, with a file of its own, and then crashes; says what it sees."""
import faulthandler
import os
import signal
import sys

print(faulthandler.is_enabled(), faulthandler.disable(), faulthandler.is_enabled())
for bad in (object(), 10**9, "text"):
    try:
        faulthandler.enable(file=bad)
    except Exception as exc:
        print(type(exc).__name__)
print(faulthandler.is_enabled())
log = open(sys.argv[1], "w")
faulthandler.enable(log)
print(faulthandler.is_enabled(), log.fileno(), flush=True)
os.kill(os.getpid(), signal.SIGABRT)  # MARK: crash
