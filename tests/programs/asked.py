"""Lives until its standard input ends, in the way that its first argument names; `ready` when it does."""
import functools
import itertools
import os
import signal
import sys
import threading
import time


class Late(Exception):
    """What the program's own time-out raises."""


def too_late(number, frame):
    raise Late("ours")


def turn_round():
    while not done.is_set():
        pass


def loop():
    import asyncio

    async def forever():
        print("ready", flush=True)
        while not done.is_set():
            await asyncio.sleep(0.01)

    asyncio.run(forever())


def wait_for_a_lock():
    print("ready", flush=True)
    done.wait()


def compute():
    print("ready", flush=True)
    turn_round()


def read():
    print("ready", flush=True)
    os.read(0, 1)
    os._exit(0)


def time_out():
    """The program's own time-outs, one after another: each must reach the program."""
    signal.signal(signal.SIGALRM, too_late)
    print("ready", flush=True)
    missed = 0
    while not done.is_set():
        missed += 1
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            while True:
                pass
        except Late:
            missed -= 1
    print("missed", missed, flush=True)


def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])
    wait_for_a_lock()


def take():
    signal.signal(signal.SIGURG, lambda number, frame: print("heard", flush=True))
    wait_for_a_lock()


def fork():
    pid = os.fork()
    if pid == 0:
        print("ready", flush=True)
        turn_round()
        os._exit(0)
    os.waitpid(pid, 0)


def stuck():
    """In C code that takes the interpreter's lock and does not come back, from before it says that it is ready."""
    sum(itertools.chain(map(functools.partial(os.write, 1), [b"ready\n"]), range(10**14)))


def change_user():
    os.setuid(65534)
    wait_for_a_lock()


done = threading.Event()
if sys.argv[1] not in ("read", "fork"):
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
globals()[sys.argv[1]]()
