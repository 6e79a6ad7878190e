"""Ends in the way it is told: die.py WAY [LIBRARY]."""
import ctypes
import os
import signal
import sys
import threading
import time

from known import wait_until_known


def fault(name):
    getattr(ctypes.CDLL(sys.argv[2]), name)()  # MARK: crash


def fault_in_sight(name):
    wait_until_known()
    fault(name)


def in_thread():
    wait_until_known()
    thread = threading.Thread(target=fault, args=("fault_null_read",), name="doomed")
    thread.start()
    thread.join()


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(30)


def fork_and_fault():
    pid = os.fork()
    if pid == 0:
        fault_in_sight("fault_null_read")
    _, status = os.waitpid(pid, 0)
    print("child", os.WTERMSIG(status))


def fork_and_exit():
    pid = os.fork()
    if pid == 0:
        os._exit(9)
    _, status = os.waitpid(pid, 0)
    print("child", os.WEXITSTATUS(status))


def catch_term():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("ready", flush=True)
    time.sleep(600)


def wait():
    print("ready", flush=True)
    time.sleep(600)


def wait_then_fault():
    print("ready", flush=True)
    sys.stdin.readline()
    fault("fault_null_read")


def wait_then_exit():
    print("ready", flush=True)
    sys.stdin.readline()
    print("done", flush=True)
    sys.exit(4)


WAYS = {
    "null": lambda: fault_in_sight("fault_null_read"),
    "wild": lambda: fault_in_sight("fault_wild_write"),
    "divide": lambda: fault_in_sight("fault_divide"),
    "illegal": lambda: fault_in_sight("fault_illegal"),
    "bus": lambda: fault_in_sight("fault_bus"),
    "abort": os.abort,
    "thread": in_thread,
    "sent": lambda: send(signal.SIGSEGV),
    "kill": lambda: send(signal.SIGKILL),
    "term": lambda: send(signal.SIGTERM),
    "int": lambda: send(signal.SIGINT),
    "xcpu": lambda: send(signal.SIGXCPU),
    "_exit": lambda: os._exit(7),
    "c_exit": lambda: ctypes.CDLL(None).exit(9),
    "sys_exit": lambda: sys.exit(3),
    "message": lambda: sys.exit("nothing to do"),
    "raise": lambda: {}["sku"],
    "fine": lambda: print("out"),
    "fork_fault": fork_and_fault,
    "fork_exit": fork_and_exit,
    "catch_term": catch_term,
    "wait": wait,
    "wait_then_fault": wait_then_fault,
    "wait_then_exit": wait_then_exit,
}

if __name__ == "__main__":
    print("before", flush=True)
    print("to stderr", file=sys.stderr, flush=True)
    WAYS[sys.argv[1]]()
