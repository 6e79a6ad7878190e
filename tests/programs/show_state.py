"""Prints what a program can see of its interpreter, so that two runs can be compared."""
import os
import signal
import sys
import threading
import warnings


def descriptors():
    numbers = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    return [number for number in numbers if number < 100]


print("path", sys.path)
print("argv", sys.argv)
print("flags", sys.flags)
print("warnings", warnings.filters == [] or len(warnings.filters))
print("descriptors", descriptors())
print("threads", threading.active_count(), len(os.listdir("/proc/self/task")))
print("sitecustomize", getattr(sys.modules.get("sitecustomize"), "__file__", None))
print("hooks", sys.excepthook is sys.__excepthook__, sys.unraisablehook is sys.__unraisablehook__)
print("signals", [signal.getsignal(number) for number in (2, 6, 11, 15)])
print("importers", [entry for entry in sys.path_importer_cache if "probe" in entry.rsplit("/", 1)[-1]])
print("next descriptor", os.open(os.devnull, os.O_RDONLY))
print("recursion", sys.getrecursionlimit(), sys.getswitchinterval())
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    print("child", descriptors(), flush=True)
    os._exit(3)
print("status", os.waitpid(pid, 0)[1])
