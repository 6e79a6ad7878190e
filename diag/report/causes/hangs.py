"""Verdicts on a process that did not get on: stopped, deadlocked, hung, its loop does not turn, or only slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diag.model import parse_stamp
from diag.report.causes.shape import HIGH, LOW, MEDIUM, verdict
from diag.report.reading import Json, app_frame, describe, duration, place

_LOOPS = ("/asyncio/base_events.py", "/asyncio/runners.py", "/uvicorn/server.py")
_SERVES, _STARTS = "/diag_probe/asgi.py", "/lifespan"  # in the stack of every request, and of what is none
_FOR_EVENTS = ("poll",)  # the kind of wait of a loop that has nothing to do
_COMPUTES = 0.2  # of the time for which it could have run; who polls takes less
_RAN_S = 0.005
_WORST_FIRST = ("deadlock", "blocked-event-loop", "hang", "slow-request")


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where a thread stood at each look, and what it did in between."""

    thread: Json
    stacks: tuple[tuple[Json, ...], ...]
    ran: Json | None
    apart_s: float

    @property
    def frames(self) -> tuple[Json, ...]:
        return self.stacks[-1]

    @property
    def where(self) -> str:
        frame = app_frame(self.frames)
        return place(frame) if frame else ""

    @property
    def runs_loop(self) -> bool:
        return any((frame["file"] or "").endswith(_LOOPS) for frame in self.frames)

    @property
    def waits_for_events(self) -> bool:
        return bool(self.thread.get("waiting", {}).get("kind") in _FOR_EVENTS)

    @property
    def computes(self) -> bool:
        if self.ran is None:
            return bool(self.thread["state"] == "active")
        return bool(self.ran["cpu_s"] >= _COMPUTES * max(_RAN_S, self.apart_s - self.ran["starved_s"]))

    @property
    def stood_still(self) -> bool:
        """Whether the scheduler never gave it a turn in between."""
        return self.ran is not None and not self.ran["turns"] and self.ran["cpu_s"] < _RAN_S

    @property
    def got_on(self) -> bool:
        first, last = (_calls(stack) for stack in (self.stacks[0], self.stacks[-1]))
        if first == last:
            return not (self.stood_still or self.computes)
        # A loop in one function: the innermost line differs, and nothing else.
        return not (self.computes and first[1:] == last[1:] and first[:1] and first[0][:2] == last[0][:2])

    def doing(self) -> str:
        """`, where it sleeps`."""
        waiting = self.thread.get("waiting")
        return f", where it {waiting['what']}" if waiting else ", where it computes" if self.computes else ""

    def evidence(self) -> str:
        """What the scheduler says, in a sentence."""
        if self.ran is None:
            return ""
        if self.stood_still:
            return f"Between the looks, {duration(self.apart_s)} apart, it did not run at all."
        ran = duration(self.ran["cpu_s"])
        turns = f"{self.ran['turns']} turn{'s' if self.ran['turns'] != 1 else ''}"
        starved = f" It waited {duration(self.ran['starved_s'])} of it for a processor." if self.starved else ""
        return f"Between the looks, {duration(self.apart_s)} apart, it ran for {ran}, in {turns}.{starved}"

    @property
    def starved(self) -> bool:
        return self.ran is not None and self.ran["starved_s"] >= self.apart_s / 2


_NOWHERE: dict[str, Any] = {"where": "", "threadId": None}


def judge(hang: Json) -> dict[str, Any]:
    """`{cause, sentence, confidence, evidence, where, threadId}` of the rest of the report's `hang`."""
    if hang["kind"] == "stopped":
        return {**_stopped(hang), "where": "", "threadId": None}
    if hang["stacks"] is None:
        return {**verdict("hang", "It was found not to get on, and could not be read.", LOW, []), **_NOWHERE}
    stands = _stands(hang)
    found = [(one, _of(one, hang)) for one in stands]
    found.sort(key=lambda one: _WORST_FIRST.index(one[1]["cause"]))
    if hang["stacks"]["deadlocks"]:
        return _deadlock(hang, stands)
    if not found:
        return {**verdict("slow-request", "The threads that did not get on have ended since.", LOW, []), **_NOWHERE}
    first, told = found[0]
    return {**_place(first), **told, "evidence": [*told["evidence"], *_circumstances(hang)]}


def _deadlock(hang: Json, stands: Sequence[_Stand]) -> dict[str, Any]:
    told = hang["stacks"]["verdict"]
    late = [f"{who[:1].upper()}{who[1:]}." for who in (_who(hang, one) for one in stands)] if hang["requests"] else []
    members = [one for one in hang["stacks"]["deadlocks"][0]["members"] if one["kind"] == "thread"]
    where = {"where": members[0]["where"], "threadId": members[0]["id"]} if members else _NOWHERE
    return {**told, "evidence": [*late, *told["evidence"], *_circumstances(hang)], **where}


def _place(stand: _Stand) -> dict[str, Any]:
    return {"where": stand.where, "threadId": stand.thread["threadId"]}


def _stopped(hang: Json) -> dict[str, Any]:
    by = f" by {hang['signal']}" if hang["signal"] else ""
    with_ = f", with {len(hang['requests'])} requests in flight" if len(hang["requests"]) > 1 else ""
    with_ = f" while serving {describe(hang['requests'][0])}" if len(hang["requests"]) == 1 else with_
    evidence = ["/proc shows the state T, and no tracer. Nothing was done about it: SIGCONT lets it go on."]
    return verdict("stopped", f"It is stopped{by}{with_}: it lives, and does not run.", HIGH, evidence)


def _stands(hang: Json) -> list[_Stand]:
    document = hang["stacks"]
    looks = [look["processes"][0] for look in document["looks"]]
    wanted = [request["thread_id"] for request in hang["requests"]]
    if not wanted and hang["kind"] == "loop":
        wanted = [looks[-1]["pid"]]
    apart_s = _apart_s(document)
    found = []
    for thread_id in dict.fromkeys(wanted):
        seen = [thread for look in looks for thread in look["threads"] if thread["threadId"] == thread_id]
        if seen and seen[-1] in looks[-1]["threads"]:
            stacks = tuple(tuple(document["stacks"][thread["stack"]]) for thread in seen)
            found.append(_Stand(seen[-1], stacks, hang["ran"].get(str(thread_id)), apart_s))
    return found


def _apart_s(document: Json) -> float:
    times = [parse_stamp(look["time"]) for look in document["looks"]]
    return (times[-1] - times[0]).total_seconds()


def _of(stand: _Stand, hang: Json) -> dict[str, Any]:
    who, stands = _who(hang, stand), stand.where or "a place that was not read"
    if len(hang["stacks"]["looks"]) < 2:
        when = "when it was looked at; it ended before a second look"
        return verdict("hang", f"{who[:1].upper()}{who[1:]}, and stood in {stands}{stand.doing()} {when}.", LOW, [])
    said = [one for one in (stand.evidence(),) if one]
    if hang["wentOn"] and hang["kind"] == "request":
        sentence = f"Slow: {who}, stood in {stands}{stand.doing()} at both looks, and went on by itself."
        return verdict("slow-request", sentence, HIGH, said)
    if stand.runs_loop:
        return _of_loop(stand, hang, who, stands, said)
    if stand.got_on:
        sentence = f"Slow, still moving: {who}; at the second look it was in {stands}{stand.doing()}."
        return verdict("slow-request", sentence, HIGH, said)
    sentence = f"Hung: {who}, and stands in {stands}{stand.doing()}; both looks show the same."
    return verdict("hang", sentence, HIGH if stand.stood_still else MEDIUM, said)


def _of_loop(stand: _Stand, hang: Json, who: str, stands: str, said: list[str]) -> dict[str, Any]:
    if stand.waits_for_events or stand.got_on:
        task = _task(hang)
        where = f"; its task awaits in {task}" if task else ""
        sentence = f"Slow, still moving: {who}{where}; its event loop turns."
        return {**verdict("slow-request", sentence, HIGH, said), "where": task}
    for_s = duration(hang["age_s"])
    since = f"has not turned for {for_s}" if hang["kind"] == "loop" else f"does not turn, and {who}"
    sentence = f"The event loop {since}: it stands in {stands}{stand.doing()}; both looks show the same."
    return verdict("blocked-event-loop", sentence, HIGH if stand.stood_still else MEDIUM, said)


def _task(hang: Json) -> str:
    """Where the tasks of requests stand, where that is one place alone."""
    process = hang["stacks"]["looks"][-1]["processes"][0]
    tasks = [task for loop in process["asyncio"].get("loops", ()) for task in loop["tasks"]]
    stacks = [hang["stacks"]["stacks"][task["stack"]] for task in tasks if task["state"] == "waiting"]
    serving = [stack for stack in stacks if _has(stack, _SERVES) and not _has(stack, _STARTS)]
    places = {place(frame) for frame in map(app_frame, serving) if frame}
    return places.pop() if len(places) == 1 else ""


def _has(stack: Sequence[Json], part: str) -> bool:
    return any(part in (frame["file"] or "") for frame in stack)


def _who(hang: Json, stand: _Stand) -> str:
    """`GET /x (request 7f3a) is 24.1 s old`."""
    served = [one for one in hang["requests"] if one["thread_id"] == stand.thread["threadId"]]
    if not served:
        return f"the main thread has not waited for events for {duration(hang['age_s'])}"
    oldest = max(served, key=lambda one: one["age_s"])
    others = f", with {len(served) - 1} more on the same thread" if len(served) > 1 else ""
    return f"{describe(oldest)} has been under way for {duration(hang['age_s'])}{others}"


def _circumstances(hang: Json) -> list[str]:
    """What else has to be known of the time."""
    found = []
    if hang["threshold_s"]:
        limit = f", {hang['threshold_s'] / hang['timeout_s']:.0%} of gunicorn's --timeout" if hang["timeout_s"] else ""
        found.append(f"The limit is {duration(hang['threshold_s'])}{limit}.")
    if hang["uncounted_s"] >= 1:
        found.append(
            f"{duration(hang['uncounted_s'])} more do not count: it was stopped, frozen, traced, or had no processor."
        )
    if hang["more"]:
        found.append(f"{hang['more']} more like it were seen since the last record.")
    return found


def _calls(stack: Sequence[Json]) -> list[tuple[Any, ...]]:
    return [(frame["function"], frame["file"], frame["line"]) for frame in stack]
