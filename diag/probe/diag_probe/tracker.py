"""memray's tracking of allocations, for a time, where the program can import memray. It keeps a thread of its own."""

import os
import sys
from _thread import allocate_lock, start_new_thread

SILENT, WARNING = 100, 30  # levels of logging; the second is memray's own default
state = {}  # "token" of the diag that looks, "tracker"
of_parents = []  # their trackers: memray has let go of them in a fork, and nobody may end them here


def forked():
    """A child is not tracked: memray does not follow."""
    of_parents.append(state.copy())
    state.clear()


os.register_at_fork(after_in_child=forked)


class NotNow(Exception):
    """Nothing was started; the message says why."""


def answer(frame, arguments):
    """What the way `do` gives; its `token` says which diag asks."""
    return WAYS[arguments["do"]](frame, arguments)


def start(frame, arguments):
    """{"version"} of memray, which writes to the argument `file` when it ends. Raises NotNow, ImportError, OSError."""
    end(frame, {"token": state.get("token")})  # of a diag that was killed, and so was whoever should have ended it
    if sys.getprofile() is not None:
        raise NotNow("the program has a profile function of its own (sys.setprofile), which memray would take away")
    if is_importing(frame):
        raise NotNow("the program was importing a module at that moment")
    import memray

    memray.set_log_level(SILENT)  # what it has to say it would say on the program's stderr
    try:
        tracker = memray.Tracker(
            destination=memray.FileDestination(arguments["file"], overwrite=True, compress_on_exit=False),
            memory_interval_ms=1000,
            file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS,
        )
        enter_beside(tracker)
    finally:
        memray.set_log_level(WARNING)
    state.update(token=arguments["token"], tracker=tracker)
    return {"version": memray.__version__}


def enter_beside(tracker):
    """Enter it in a thread that lives for no longer: of other threads memray takes the stack on which they stand, of
    its own it does not, and would miss a caller for each of our functions that return.
    """
    entered, failed = allocate_lock(), []

    def enter():
        try:
            tracker.__enter__()
        except Exception as exc:
            failed.append(exc)
        finally:
            entered.release()

    entered.acquire()
    start_new_thread(enter, ())
    entered.acquire()
    if failed:
        raise failed[0]


def end(frame, arguments):
    """Stop what was started for this diag; whether there was anything."""
    if not state or state["token"] != arguments["token"]:
        return False
    tracker = state.pop("tracker")
    state.clear()
    tracker.__exit__(None, None, None)
    return True


def is_importing(frame):
    """Whether the program stands in an import: a second one inside it would find modules half made."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


WAYS = {"start": start, "end": end}
