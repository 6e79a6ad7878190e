"""CPython's own tracing of allocations, for a time: its C part alone, because `tracemalloc` imports much more.

A tracing that is on already is the program's: it is used, and stays on.
"""

import _tracemalloc
import os
from time import monotonic

EVERY = 4096  # traces between two looks at the clock
NOTHING = (0, 0)
state = {}  # "token" of the diag that looks, "own" for the program's own tracing, "before" as `sums` gives it


def forked():
    """A child is not traced for diag, which does not know of it."""
    if state and not state["own"]:
        _tracemalloc.stop()
    state.clear()


os.register_at_fork(after_in_child=forked)


def answer(frame, arguments):
    """What the way `do` gives; its `token` says which diag asks."""
    return WAYS[arguments["do"]](arguments)


def start(arguments):
    """{"depth": frames of each stack, "own": whether the program is tracing already}.

    Arguments: `depth`, and the limits `memory` of the traces and `seconds` for adding them up.
    """
    if state and not state["own"]:  # of a diag that was killed, and so was whoever should have ended it
        _tracemalloc.stop()
    state.clear()
    own = _tracemalloc.is_tracing()
    before = sums(traces(arguments), arguments) if own else ({}, "")
    if not own:
        _tracemalloc.start(arguments["depth"])
    state.update(token=arguments["token"], own=own, before=before)
    return {"depth": _tracemalloc.get_traceback_limit(), "own": own}


def stop(arguments):
    """{"rows": [(bytes, objects, bytes before, objects before, [(file, line), ..] innermost first), ..], "rest": the
    same four of what is in no row, "traced": (bytes now, at the peak), "cut": which limit left some out}.

    None where nobody is tracing any more. Arguments: `rows`, `memory`, `seconds`.
    """
    if not _tracemalloc.is_tracing() or state.get("token") != arguments["token"]:
        return None
    traced, found, before = _tracemalloc.get_traced_memory(), traces(arguments), state["before"]
    end(arguments)
    after = sums(found, arguments)
    keys = set(after[0]).union(before[0])
    rows = [(*after[0].get(key, NOTHING), *before[0].get(key, NOTHING), key) for key in keys]
    rows.sort(key=lambda row: max(row[0], row[2]), reverse=True)
    rest = rows[arguments["rows"] :]
    return {
        "rows": [(*row[:4], list(row[4])) for row in rows[: arguments["rows"]]],
        "rest": [sum(row[column] for row in rest) for column in range(4)],
        "traced": traced,
        "cut": after[1] or before[1],
    }


def end(arguments):
    """Stop what was started for this diag, and let go of what was kept; whether there was anything."""
    if state.get("token") != arguments["token"]:
        return False
    if not state["own"]:
        _tracemalloc.stop()
    state.clear()
    return True


def traces(arguments):
    """All of them, or None where a list of them would be too large."""
    if _tracemalloc.get_tracemalloc_memory() > arguments["memory"]:
        return None
    return _tracemalloc._get_traces()


def sums(found, arguments):
    """({stack: (bytes, objects)}, which limit left some out)."""
    if found is None:
        return {}, "memory"
    until, rows = monotonic() + arguments["seconds"], {}
    for index in range(0, len(found), EVERY):
        if monotonic() > until:
            return {row[0]: (row[1], row[2]) for row in rows.values()}, "seconds"
        for trace in found[index : index + EVERY]:
            # Equal stacks are one object here, so nobody needs to compare them.
            row = rows.get(id(trace[2]))
            if row is None:
                row = rows[id(trace[2])] = [trace[2], 0, 0]
            row[1] += trace[1]
            row[2] += 1
    return {row[0]: (row[1], row[2]) for row in rows.values()}, ""


WAYS = {"start": start, "stop": stop, "end": end}
