"""Forks: one child ends well, one dies of an exception, one of SIGSEGV; then the parent tells how they ended."""
import os
import signal


def child(act):
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def fail():
    raise SystemError("in the child")


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)  # MARK: crash


print("well", child(lambda: None), flush=True)
print("crash", child(crash), flush=True)
pid = os.fork()
if pid == 0:
    fail()
print("exception", os.waitpid(pid, 0)[1])
