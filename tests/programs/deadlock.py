"""Threads that wait for each other, and threads that only look like it; `ready` when all of them are about to."""
import concurrent.futures
import sys
import threading

STARTED = threading.Barrier(2)


def ab_and_ba(one, other, **wait):
    """Two threads that take the same two locks in turn."""

    def take(first, second):
        with first:
            STARTED.wait()
            if wait:
                second.acquire(**wait)
            else:
                with second:  # MARK: second
                    pass

    start(take, one, other, "here")
    start(take, other, one, "there")


def start(work, *arguments):
    threading.Thread(target=work, args=arguments[:-1], name=arguments[-1], daemon=True).start()


def rlocks():
    ab_and_ba(threading.RLock(), threading.RLock())


def locks():
    ab_and_ba(threading.Lock(), threading.Lock())


def timed():
    ab_and_ba(threading.RLock(), threading.RLock(), timeout=1000)


def by_hand():
    """The locks are taken without a `with`, so nobody can say who holds them."""
    one, other = threading.Lock(), threading.Lock()

    def take(first, second):
        first.acquire()
        STARTED.wait()
        second.acquire()

    start(take, one, other, "here")
    start(take, other, one, "there")


def itself():
    lock = threading.Lock()

    def again():
        with lock:  # MARK: again
            pass

    print("ready", flush=True)
    with lock:
        again()


def join():
    """One waits for the end of a thread that waits for its lock."""
    lock = threading.RLock()

    def inside():
        with lock:
            pass

    def outside():
        with lock:
            thread = threading.Thread(target=inside, name="inside", daemon=True)
            thread.start()
            thread.join()

    start(outside, "outside")


def join_main():
    """The same, with the main thread as the one that joins."""
    lock = threading.RLock()

    def inside():
        with lock:
            pass

    print("ready", flush=True)
    with lock:
        thread = threading.Thread(target=inside, name="inside", daemon=True)
        thread.start()
        thread.join()


def condition():
    """wait() has let go of the lock, which a thread holds that stands in no `with`."""
    lock = threading.Lock()
    condition = threading.Condition(lock)
    waiting = threading.Event()

    def wait():
        with condition:
            waiting.set()
            condition.wait()

    start(wait, "waiter")
    waiting.wait()
    lock.acquire()
    condition.notify()


def let_go():
    """A lock that is released inside of its `with`, and taken by somebody else."""
    lock = threading.Lock()
    taken = threading.Event()

    def borrow():
        with lock:
            lock.release()
            released.set()
            taken.wait()
            lock.acquire()

    released = threading.Event()
    start(borrow, "borrower")
    released.wait()
    lock.acquire()
    taken.set()


def pool():
    """Workers without work."""
    workers = concurrent.futures.ThreadPoolExecutor(20)
    everybody = threading.Barrier(20)
    list(workers.map(lambda _: everybody.wait(), range(20)))
    globals()["kept"] = workers


globals()[sys.argv[1]]()
if sys.argv[1] not in ("itself", "join_main"):
    print("ready", flush=True)
sys.stdin.read()
