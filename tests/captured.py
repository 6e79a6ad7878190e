"""Profiles as captures in a store, for tests of what reads them."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from typing import Any

import deaths
from deaths import APP, SERVER, SITE, Made
from moments import next_moment
from profiled import COUNT, CPU

from diag.model import Artifact, Capture, Cost, Link, new_capture_id, stamp
from diag.profiles import formats
from diag.profiles.builder import Builder
from diag.profiles.model import PID, REQUEST_ID, THREAD, THREAD_ID, TRACE_ID, Frame, Label, Profile, Recording
from diag.profiles.summary import summary

PERIOD_NS = 10_000_000
REQUESTS = ("req-checkout-1", "req-cart-2", "req-search-3")
_SERVER = tuple(Frame(one.function, one.file or "", one.line or 0) for one in reversed(SERVER))
_WAYS = {
    "req-checkout-1": (Frame("checkout", APP, 42), Frame("total", APP, 88), Frame("price", APP, 61)),
    "req-cart-2": (Frame("cart", APP, 20), Frame("render", f"{SITE}/jinja2/environment.py", 1301)),
    "req-search-3": (Frame("search", APP, 70), Frame("match", "/usr/lib/python3.11/re/__init__.py", 166)),
}


def shop(slow: str = "req-checkout-1", samples: int = 1000, seed: int = 7) -> Profile:
    """Ten seconds of a shop with two workers' threads: the request `slow` takes most of the time."""
    chosen = random.Random(seed)
    builder = Builder([COUNT, CPU], timed=True)
    for number in range(samples):
        part = number * 4 // samples
        thread = number % 2
        request = slow if chosen.random() < 0.6 else REQUESTS[part % 3]
        labels = [
            *(Label(PID, 4711), Label(THREAD_ID, 4712 + thread), Label(THREAD, f"ThreadPoolExecutor-0_{thread}")),
            *(Label(REQUEST_ID, request), Label(TRACE_ID, deaths.TRACE)),
        ]
        way = _WAYS[request][: chosen.randint(1, 3)]
        frames = tuple(builder.frame(one) for one in reversed((*_SERVER, *way)))
        moment = number * 10_000_000_000 // samples
        builder.add(builder.stack(frames), (1, PERIOD_NS), builder.labels(labels), moment)
    taken = Recording("py-spy", "0.4.1", "cpu", 100.0, lost=3, invalid=2, cost=Cost(pause_s=0.0))
    return builder.build(recording=taken, start_ns=1_740_819_600_000_000_000, duration_ns=10_000_000_000)


def large(stacks: int = 200_000) -> Profile:
    """So many different stacks, 26 frames deep, of one thread: each of 500 ways ends in many functions."""
    builder = Builder([COUNT, CPU])
    functions = [builder.frame(Frame(f"f{number}", f"/srv/shop/m{number % 50}.py", number)) for number in range(2000)]
    chosen = random.Random(3)
    ways = [[functions[(way >> max(0, 8 - depth)) * 31 % 1600 + depth] for depth in range(25)] for way in range(500)]
    for number in range(stacks):
        stack = (functions[number // 500], *reversed(ways[number % 500]))
        builder.add(builder.stack(stack), (1, PERIOD_NS * chosen.randint(1, 3)))
    return builder.build(recording=Recording("austin", "3.7.0", "cpu", 100.0), duration_ns=60_000_000_000)


def made(profile: Profile, **changes: Any) -> Made:
    """A capture with this profile and its summary, as `diag profile` makes it."""
    found = {**summary(profile), "engine": "py-spy 0.4.1", "why": "py-spy reads it without stopping it"}
    hottest = found["facts"]["hottest"]
    title = f"profile: {hottest['self_share'] * 100:.0f} % in {hottest['function']}" if hottest else "profile: nothing"
    files = {"profile.pb.gz": formats.write(profile, "pprof"), "summary.json": json.dumps(found).encode()}
    moment = next_moment()
    capture = Capture(
        capture_id=new_capture_id(moment),
        kind="profile",
        trigger="api",
        time=stamp(moment),
        instance=deaths.instance(),
        title=title,
        links=tuple(Link(row["request_id"], row["trace_id"]) for row in found["requests"]),
        cost=Cost(0.0, 0.4, 10.2),
    )
    return with_files(Made(replace(capture, **changes), {}), files)


def with_files(made: Made, files: dict[str, bytes]) -> Made:
    """The same capture with these files as its profile and its summary."""
    told = {"profile.pb.gz": ("profile", "pprof"), "summary.json": ("summary", "diag-profile")}
    artifacts = tuple(
        Artifact(name, *told[name], "application/json", len(data), hashlib.sha256(data).hexdigest())
        for name, data in files.items()
    )
    return Made(replace(made.capture, artifacts=artifacts), files)
