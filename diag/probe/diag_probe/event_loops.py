"""Event loops of asyncio with their tasks: where each one stands, what it awaits, and who awaits it."""

import sys
from gc import get_referents
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType, MethodType

from .holding import Reader, attribute

TASKS = 2000
FRAMES = 60
CALLBACKS = 50
REACHED = 200
_AWAITED = {
    CoroutineType: ("cr_frame", "cr_await"),
    GeneratorType: ("gi_frame", "gi_yieldfrom"),
    AsyncGeneratorType: ("ag_frame", "ag_await"),
}


def look_at_loops():
    """[{"id", "type", "thread": ident | None, "running", "ready", "timers", "overdue_s", "tasks": [TASK, ..]}, ..]

    TASK = {"id", "name", "coroutine", "state", "frames": [(function, file, line, module), ..] innermost first,
            "awaits": [ids of tasks that are not done], "whole": whether nothing else wakes it, "awaited_by": [ids],
            "waits_on": address | None of an asyncio lock, "holds": [(address, name, function, file, line), ..],
            "timed": whether a time-out stands over it}
    """
    asyncio = sys.modules.get("asyncio.tasks")
    futures = sys.modules.get("asyncio.futures")
    if asyncio is None or futures is None:
        return []
    return _Look(asyncio, futures).loops()


class _Look:
    def __init__(self, asyncio, futures):
        self.asyncio = asyncio
        self.task_types = _kinds(asyncio, "Task", "_PyTask", "_CTask")
        self.future_types = _kinds(futures, "Future", "_PyFuture", "_CFuture")
        locks = sys.modules.get("asyncio.locks")
        self.lock_types = _kinds(locks, "Lock")
        self.reader = Reader(self._lock_of, locks.Condition.wait.__code__ if locks is not None else None)
        self.current = dict(getattr(asyncio, "_current_tasks", {}))

    def loops(self):
        """Every loop that has a task, runs one, or runs."""
        tasks = [task for task in self._all() if attribute(task, "_state") == "PENDING"]
        by_loop = {}
        for task in tasks[:TASKS]:
            loop = attribute(task, "_loop")
            by_loop.setdefault(id(loop), (loop, []))[1].append(task)
        for loop in self.current:
            by_loop.setdefault(id(loop), (loop, []))
        return [self._loop(loop, members) for loop, members in by_loop.values()]

    def _all(self):
        found = {}
        for name in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):
            known = getattr(self.asyncio, name, None)
            # A WeakSet holds references in the set `data`; copying that runs nothing of the program's.
            references = list(getattr(known, "data", None) or ())
            members = [reference() for reference in references] if references else []
            members += list(known) if type(known) is set else []
            found.update((id(task), task) for task in members if task is not None)
        return list(found.values())

    def _loop(self, loop, tasks):
        scheduled = attribute(loop, "_scheduled")
        timers = [timer for timer in scheduled or () if not attribute(timer, "_cancelled")]
        ready = attribute(loop, "_ready")
        thread = attribute(loop, "_thread_id")
        over = [timer for timer in timers if not self._harmless(timer)]
        freed = set()
        for timer in over:
            freed.update(id(one) for one in self._reached(timer, "_callback", "_args"))
        woken = self._woken(ready)
        return {
            "id": id(loop),
            "type": type(loop).__module__ + "." + type(loop).__qualname__,
            "thread": thread if type(thread) is int else None,
            "running": type(thread) is int,
            "ready": len(ready) if ready is not None else None,
            "timers": len(timers) if scheduled is not None else None,
            "overdue_s": _overdue(timers),
            "tasks": [self._task(loop, task, freed if scheduled is not None else None, woken) for task in tasks],
        }

    def _task(self, loop, task, freed, woken):
        waiter = attribute(task, "_fut_waiter")
        stack = _stack(attribute(task, "_coro"))
        awaits, whole = self._awaits(waiter)
        running = self.current.get(loop) is task
        state = "running" if running else "waiting" if waiter is not None and id(task) not in woken else "ready"
        return {
            "id": id(task),
            "name": str(self._name(task)),
            "coroutine": str(_called(attribute(task, "_coro"))),
            "state": state,
            "frames": [place for _, place in stack],
            "awaits": awaits,
            "whole": whole,
            "awaited_by": self._awaited_by(task),
            "waits_on": self._lock(stack) if waiter is not None else None,
            "holds": self.reader.held(one for one, _ in stack),
            # A loop that does not show its timers, as uvloop's, may have one over any task.
            "timed": freed is None or id(task) in freed or id(waiter) in freed,
        }

    def _name(self, task):
        name = self.asyncio.Task.get_name(task) if hasattr(self.asyncio.Task, "get_name") else None
        return name if type(name) is str else "Task"

    def _awaits(self, waiter):
        """(tasks that are not done and can wake it, whether they alone can)."""
        if waiter is None:
            return [], False
        if self._is_task(waiter):
            return [id(waiter)], True
        children = attribute(waiter, "_children")
        if type(children) is list:
            pending = [child for child in children if attribute(child, "_state") == "PENDING"]
            return [id(child) for child in pending if self._is_task(child)], all(map(self._is_task, pending))
        return [], False

    def _awaited_by(self, task):
        found = {}
        for callback in (attribute(task, "_callbacks") or ())[:CALLBACKS]:
            for one in self._behind(callback[0] if type(callback) is tuple else callback, 0):
                found[id(one)] = one
        found.pop(id(task), None)
        return list(found)

    def _behind(self, callback, depth):
        """The tasks that a callback of a future wakes, through gather, wait, shield, wait_for and task groups."""
        for one in _parts(callback):
            if self._is_task(one):
                yield one
            elif self._is_future(one) and depth < 3:
                for further in (attribute(one, "_callbacks") or ())[:CALLBACKS]:
                    yield from self._behind(further[0] if type(further) is tuple else further, depth + 1)
            elif type(one).__module__ == "asyncio.taskgroups":
                parent = attribute(one, "_parent_task")
                if self._is_task(parent):
                    yield parent

    def _reached(self, timer, *names):
        """Tasks and futures that a timer's callback leads to, and those that these wake."""
        seen = set()
        todo = [attribute(timer, name) for name in names]
        while todo and len(seen) < REACHED:
            value = todo.pop()
            if value is None or id(value) in seen:
                continue
            seen.add(id(value))
            if self._is_task(value) or self._is_future(value):
                yield value
                for callback in (attribute(value, "_callbacks") or ())[:CALLBACKS]:
                    yield from self._behind(callback[0] if type(callback) is tuple else callback, 0)
            elif type(value) in (list, tuple, set):
                todo += list(value)[:20]
            else:
                todo += _parts(value)
                todo.append(attribute(value, "_task"))  # asyncio.timeout()

    def _harmless(self, timer):
        """asyncio.sleep's timer wakes the sleeper alone."""
        callback = attribute(timer, "_callback")
        return type(callback) is FunctionType and callback.__name__ == "_set_result_unless_cancelled"

    def _woken(self, ready):
        """Tasks whose next step is in the loop's queue."""
        found = set()
        for handle in list(ready or ())[:TASKS]:
            found.update(id(one) for one in _parts(attribute(handle, "_callback")) if self._is_task(one))
        return found

    def _lock(self, stack):
        """The asyncio lock whose acquire() the innermost frame is."""
        acquires = {kind.acquire.__code__ for kind in self.lock_types}
        for frame, _ in stack[:2]:
            if frame.f_code in acquires:
                return id(frame.f_locals["self"])
        return None

    def _lock_of(self, value):
        return value if type(value) in self.lock_types else None

    def _is_task(self, value):
        return any(kind in self.task_types for kind in type.__dict__["__mro__"].__get__(type(value)))

    def _is_future(self, value):
        return any(kind in self.future_types for kind in type.__dict__["__mro__"].__get__(type(value)))


def _kinds(module, *names):
    return {getattr(module, name) for name in names if hasattr(module, name)}


def _stack(awaited):
    """(frame, (function, file, line, module)) of each coroutine down to what is awaited, the innermost first."""
    found = []
    for _ in range(FRAMES * 4):
        names = _AWAITED.get(type(awaited))
        if names is None:
            awaited = _wrapped(awaited)
            if awaited is None:
                break
            continue
        frame = getattr(awaited, names[0])
        if frame is not None:
            code = frame.f_code
            function = getattr(code, "co_qualname", None) or awaited.__qualname__
            module = frame.f_globals.get("__name__")
            place = (str(function), code.co_filename, frame.f_lineno, module if type(module) is str else None)
            found.append((frame, place))
        awaited = getattr(awaited, names[1])
    return found[:FRAMES][::-1]


def _wrapped(value):
    """The coroutine or generator in one of Python's own wrappers: asend(), athrow(), __await__() of a coroutine."""
    if value is None or type(value).__module__ != "builtins" or type(value).__flags__ & 1 << 9:
        return None
    return next((one for one in get_referents(value) if type(one) in _AWAITED), None)


def _parts(callback):
    """What a callback is made of: what it is bound to, its closure, its arguments; never more than a few."""
    if callback is None:
        return []
    if type(callback) is MethodType:
        return [callback.__self__]
    if type(callback) is FunctionType:
        return [cell.cell_contents for cell in callback.__closure__ or () if _filled(cell)]
    if type(callback).__module__ in ("builtins", "functools", "_asyncio"):
        # A method of C, functools.partial, the wake-up of a task: their parts are all that they refer to.
        parts = get_referents(callback)[:20]
        return parts + [inner for part in parts if type(part) is tuple for inner in part[:20]]
    return [callback]


def _filled(cell):
    try:
        cell.cell_contents
    except ValueError:
        return False
    return True


def _called(coroutine):
    return coroutine.__qualname__ if type(coroutine) in _AWAITED else type(coroutine).__qualname__


def _overdue(timers):
    """For how long the first timer has been due; the loop turns at least when one is."""
    from time import monotonic

    due = [when for when in (attribute(timer, "_when") for timer in timers) if type(when) is float]
    return max(0.0, monotonic() - min(due)) if due else 0.0
