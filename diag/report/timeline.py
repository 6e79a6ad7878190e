"""What a process used over its last minutes, as the report has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from diag.evidence import Evidence, Sample
from diag.model import stamp
from diag.report.values import Gaps

FINE_S = 120.0  # so long before the end each sample is kept
COARSE_S = 20.0  # before that, one in so many seconds


def timeline_json(evidence: Evidence, gaps: Gaps) -> dict[str, Any]:
    """The report's `timeline`: `{samples}`, oldest first; requests and events of that time are in `recent`."""
    if not evidence.samples:
        gaps.add("timeline", "no agent had watched it for long enough to take a sample")
    return {"samples": [_sample_json(sample) for sample in _thinned(evidence.samples)]}


def _thinned(samples: Sequence[Sample]) -> Iterator[Sample]:
    last = None
    for sample in samples:
        old = (samples[-1].time - sample.time).total_seconds() > FINE_S
        if last is None or not old or (sample.time - last.time).total_seconds() >= COARSE_S:
            last = sample
            yield sample


def _sample_json(sample: Sample) -> dict[str, Any]:
    return {
        "time": stamp(sample.time),
        "rss": sample.rss,
        "cpuSeconds": None if sample.cpu_s is None else round(sample.cpu_s, 3),
        "threads": sample.threads,
        "openFiles": sample.open_files,
        "requestsFinished": sample.requests,
    }
