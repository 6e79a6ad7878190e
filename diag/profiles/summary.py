"""What a page shows of a profile before anybody clicks, as plain data."""

from __future__ import annotations

from typing import Any

from diag.profiles import places
from diag.profiles.model import PID, PROCESS, REQUEST_ID, STATE, THREAD, THREAD_ID, TRACE_ID, Profile
from diag.profiles.recording import sentence
from diag.profiles.tables import Figures, Function, by_function, by_label, by_module, function_of, top

ROWS = 20


def summary(profile: Profile, sample_type: str | None = None, rows: int = ROWS) -> dict[str, Any]:
    """Where it went: functions by their own and their total value, modules, threads, requests, and how it was taken.

    Every `share` is of `total`, from 0 to 1. Raises KeyError where there is no such sample type.
    """
    column = profile.column(sample_type)
    whole = profile.total(column)
    functions, app = by_function(profile, column), _own_functions(profile)
    threads = _labelled(profile, column, (PID, PROCESS, THREAD_ID, THREAD))
    requests = _labelled(profile, column, (REQUEST_ID, TRACE_ID))
    return {
        "sample_type": profile.sample_types[column]._asdict(),
        "sample_types": [kind._asdict() for kind in profile.sample_types],
        "total": whole,
        "samples": len(profile),
        "stacks": len(profile.stacks),
        "by_self": [_function(*row, whole, app) for row in top(functions, rows)],
        "by_total": [_function(*row, whole, app) for row in top(functions, rows, by_total=True)],
        "modules": [
            {"module": name, **_figures(figures, whole)} for name, figures in top(by_module(profile, column), rows)
        ],
        "threads": threads[:rows],
        "thread_count": len(threads),
        "requests": [row for row in requests if row[REQUEST_ID] is not None][:rows],
        "recording": _recording(profile),
        "facts": _facts(profile, column, functions, app, whole),
    }


def _own_functions(profile: Profile) -> dict[Function, bool]:
    """Of each function whether it is the application's."""
    return {function_of(frame): places.in_app(frame) for frame in profile.frames}


def _function(function: Function, figures: Figures, whole: int, app: dict[Function, bool]) -> dict[str, Any]:
    return {"function": function.name, "file": function.file, "in_app": app[function], **_figures(figures, whole)}


def _figures(figures: Figures, whole: int) -> dict[str, Any]:
    return {
        "self": figures.own,
        "total": figures.total,
        "self_share": _share(figures.own, whole),
        "total_share": _share(figures.total, whole),
    }


def _labelled(profile: Profile, column: int, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    sums = sorted(by_label(profile, column, *keys).items(), key=lambda row: (-abs(row[1]), str(row[0])))
    whole = profile.total(column)
    return [
        {**dict(zip(keys, values, strict=True)), "value": value, "share": _share(value, whole)}
        for values, value in sums
    ]


def _recording(profile: Profile) -> dict[str, Any]:
    taken = profile.recording
    attempts = taken.lost + taken.invalid + len(profile)
    return {
        "sentence": sentence(taken),
        "engine": taken.engine,
        "version": taken.version,
        "mode": taken.mode,
        "rate_hz": taken.rate_hz,
        "start_ns": profile.start_ns,
        "duration_s": profile.duration_ns / 1e9,
        "lost": taken.lost,
        "invalid": taken.invalid,
        "missing_share": _share(taken.lost + taken.invalid, attempts),
        "cost": taken.cost.to_json(),
    }


def _facts(
    profile: Profile, column: int, functions: dict[Function, Figures], app: dict[Function, bool], whole: int
) -> dict[str, Any]:
    """The headline: what is hottest, in all and of the application's own; how much was idle, in GC, in its own code."""
    own = {function: figures for function, figures in functions.items() if app[function]}
    below = {function: figures for function, figures in own.items() if function.name not in places.ROOTS}
    states = {str(values[0]): value for values, value in by_label(profile, column, STATE).items()}
    requests = by_label(profile, column, REQUEST_ID)
    return {
        "hottest": _first(top(functions, 1), whole, app),
        "hottest_in_app": _first(top(own, 1), whole, app),
        "longest_in_app": _first(top(below, 1, by_total=True), whole, app),
        "app_share": _share(sum(figures.own for figures in own.values()), whole),
        "idle_share": _share(states.get("idle", 0), whole),
        "gc_share": _share(states.get("gc", 0), whole),
        "in_requests_share": _share(whole - requests.get((None,), 0), whole),
    }


def _first(rows: list[tuple[Function, Figures]], whole: int, app: dict[Function, bool]) -> dict[str, Any] | None:
    return _function(*rows[0], whole, app) if rows else None


def _share(value: int, whole: int) -> float:
    return round(value / whole, 6) if whole else 0.0
