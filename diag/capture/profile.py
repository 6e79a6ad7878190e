"""From what a profiler wrote to a profile that is kept: one format, redacted, its samples put to their requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from diag.capture.native_names import named
from diag.capture.take import During, File, Refined
from diag.collectors.asked import ProfileAsked
from diag.collectors.collector import Collected, Made
from diag.collectors.cpu_clocks import CpuClocks
from diag.evidence import Request
from diag.model import Cost, Missing
from diag.profiles import formats, headline, perf_script
from diag.profiles.attribute import Span, attribute
from diag.profiles.model import IDLE, PID, THREAD_ID, Label, Labels, Profile, Recording, SampleType
from diag.profiles.summary import summary
from diag.profiles.ticks import Ran, ticks
from diag.profiles.transform import aggregate, merge, only, select
from diag.redact import Redactor

MOST_TIMED = 200_000  # more samples than this are kept without their moments
MISSING_SHOWN = 0.01
_JOINED = ("chrometrace",)  # formats that join equal samples to stretches of time


def refining(asked: ProfileAsked) -> Callable[[Collected, During], Refined]:
    """The refinement of a profile that was asked for like this."""
    return lambda collected, during: refine(collected, during, asked)


def refine(collected: Collected, during: During, asked: ProfileAsked) -> Refined:
    """The profile as pprof, its summary, and what it says in three sentences. Raises BadProfile."""
    redactor = Redactor(environment=during.environment)
    profile = redacted(_read(collected, asked), redactor)
    profile = attribute(profile, [span for one in during.requests if (span := _span(one, during))])
    profile = replace(profile, recording=_recording(collected, asked, profile.recording))
    found = {**summary(profile), "engine": collected.engine, "why": collected.facts.get("why", "")}
    timed = profile if len(profile) <= MOST_TIMED else aggregate(profile)
    files = (
        File("profile.pb.gz", "profile", "pprof", formats.CONTENT_TYPES["pprof"], formats.write(timed, "pprof")),
        File("summary.json", "summary", "diag-profile", "application/json", json.dumps(found).encode()),
    )
    title, told = f"profile: {headline.title(found)}", headline.facts(found)
    return Refined(files, title, told, _missing(found, timed is profile), redactor.counts())


def _read(collected: Collected, asked: ProfileAsked) -> Profile:
    """Every file that the engine wrote, as one profile; what it wrote them in is removed."""
    found = []
    for made in collected.files:
        profile = _parsed(made, collected, asked)
        found.append(profile if profile.start_ns else replace(profile, start_ns=round(made.started * 1e9)))
        made.path.unlink()
    whole = merge(found) if len(found) > 1 else found[0]
    if asked.mode == "cpu":  # V8 samples whether anything runs or not
        whole = select(whole, labels=lambda labels: IDLE not in labels)
    # A tool that comes late goes on until it has taken all its samples.
    told_ns = round((collected.facts.get("duration_s") or 0.0) * 1e9)
    return replace(whole, duration_ns=max(told_ns, whole.duration_ns))


def _parsed(made: Made, collected: Collected, asked: ProfileAsked) -> Profile:
    content = made.path.read_bytes()
    if made.format == "perf":
        return named(perf_script.read(content, collected.facts["maps"]), collected.facts["root"])
    profile = formats.read(content, made.format)
    if made.format == "mojo":
        return only(profile, "wall", SampleType(asked.mode, "nanoseconds"))
    if made.format in _JOINED:
        ran = _ran(made, collected.facts.get("clocks"))
        return ticks(profile, SampleType(asked.mode, "nanoseconds"), round(1e9 / asked.rate_hz), ran)
    return profile


def _ran(made: Made, clocks: CpuClocks | None) -> Ran | None:
    """For how long a thread of the file ran between two moments of it; None where all that was seen counts."""
    if clocks is None:
        return None
    began = round(made.started * 1e9)

    def ran(labels: Labels, start_ns: int, end_ns: int) -> float | None:
        known = {label.key: label.value for label in labels}
        return clocks.ran_ns(int(known[PID]), int(known[THREAD_ID]), began + start_ns, began + end_ns)

    return ran


def _recording(collected: Collected, asked: ProfileAsked, read: Recording) -> Recording:
    """How it was taken. What the engine says of lost samples counts more than what its file says."""
    engine, _, version = collected.engine.partition(" ")
    told = collected.facts
    lost, invalid = told.get("lost"), told.get("invalid")
    return Recording(
        engine=engine,
        version=version,
        mode=asked.mode,
        rate_hz=float(told.get("rate_hz") or asked.rate_hz),
        lost=read.lost if lost is None else int(lost),
        invalid=read.invalid if invalid is None else int(invalid),
        cost=Cost(pause_s=collected.pause_s),
    )


def redacted(profile: Profile, redactor: Redactor) -> Profile:
    """Names of functions and files are the program's own, and so are labels."""
    frames = tuple(
        replace(frame, function=redactor.text(frame.function), file=redactor.text(frame.file))
        for frame in profile.frames
    )
    labels = tuple(tuple(_label(one, redactor) for one in labels) for labels in profile.label_sets)
    if frames == profile.frames and labels == profile.label_sets:
        return profile
    # What was different may be equal now: built anew, so that it is one.
    return merge([replace(profile, frames=frames, label_sets=labels)])


def _label(label: Label, redactor: Redactor) -> Label:
    return label._replace(value=redactor.text(label.value)) if isinstance(label.value, str) else label


def _span(request: Request, during: During) -> Span | None:
    if not request.request_id:
        return None
    ended = request.ended or during.ended
    times = (round(moment.timestamp() * 1e9) for moment in (request.started, ended))
    return Span(request.request_id, request.trace_id, request.thread_id, *times)


def _missing(found: dict[str, Any], timed: bool) -> tuple[Missing, ...]:
    missing = []
    share = found["recording"]["missing_share"]
    if share > MISSING_SHOWN:
        missing.append(Missing("profile.samples", f"{headline.percent(share)} of the samples were lost or invalid"))
    if not timed:
        missing.append(Missing("profile.times", f"more than {MOST_TIMED} samples: their moments were left out"))
    return tuple(missing)
