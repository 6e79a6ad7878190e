"""Reports: evidence assembled, redacted, and committed to the spool."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diag.config import Settings
from diag.errors import NotUploaded, SpoolUnwritable
from diag.evidence import Evidence
from diag.model import Capture, Instance, Missing, stamp
from diag.redact import Redactor
from diag.report.assemble import assemble, file_name
from diag.report.brief import one_line
from diag.report.title import title
from diag.spool import Spool, id_of, spools

DELIVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A redacted report and the capture that describes it: nothing of it is on disk yet."""

    capture: Capture
    report: dict[str, Any]
    name: str


def record(evidence: Evidence, *, settings: Settings, kind: str) -> Capture:
    """Assemble the report, redacted, and commit it to a spool. Raises SpoolUnwritable."""
    prepared = prepare(evidence, settings=settings, kind=kind)
    keep(prepared, settings=settings)
    return prepared.capture


def prepare(evidence: Evidence, *, settings: Settings, kind: str) -> Prepared:
    """The report of this evidence, redacted, and its capture."""
    redactor = Redactor(settings.environment_allow, environment={**os.environ, **_environment(evidence)})
    report = assemble(evidence, redactor, source_lines=settings.source_lines)
    return Prepared(_describe(evidence, kind, report), report, file_name(evidence))


def _environment(evidence: Evidence) -> dict[str, str]:
    """That of the process and of the others in the report: what they call a secret may stand in any of its texts.

    Of one that ended before anybody read it, ours has what `diag run` gave it.
    """
    own = dict(evidence.process.environment) if evidence.process else {}
    return {name: value for child in evidence.children for name, value in _environment(child).items()} | own


def keep(prepared: Prepared, *, settings: Settings) -> Path:
    """Commit the capture to the first spool that takes it; returns where it stands there.

    Where none does, its essence goes to stderr in one line, for whoever collects logs, and SpoolUnwritable is raised.
    """
    refusals: list[SpoolUnwritable] = []
    for spool in spools(settings):
        try:
            return _commit(prepared, spool)
        except SpoolUnwritable as error:
            refusals.append(error)
    write_line(one_line(prepared.capture, prepared.report))
    count_dropped("stderr", [prepared.capture.capture_id], settings=settings)
    raise refusals[0]


def _commit(prepared: Prepared, spool: Spool) -> Path:
    with spool.begin(prepared.capture, moves=True) as draft:
        draft.add(prepared.name, "report", "diag-report", "application/json", encode(prepared.report))
        return draft.commit(prepared.capture)


def count_dropped(reason: str, capture_ids: Sequence[str], *, settings: Settings) -> None:
    """Count captures that are not kept, in the first spool that can."""
    for spool in spools(settings):
        with suppress(SpoolUnwritable):
            spool.refuse(reason, *capture_ids)
            return


def write_line(line: bytes) -> None:
    """Write one line to stderr in one piece; a closed stderr is not our business."""
    with suppress(OSError):
        os.write(2, line)


def deliver(kept: Path, *, settings: Settings) -> None:
    """Send what waits in the spools, this capture's first, within a few seconds.

    Raises NotUploaded where it could not be stored yet, BadSetting where the store's URL is none.
    """
    # Imported when something is sent: the agent records crashes without it.
    from diag.upload import accounts
    from diag.upload.pace import Pace
    from diag.upload.stores import open_store
    from diag.upload.uploader import drain_out

    store = open_store(settings.store_url, settings.token, Pace.of(settings))
    own_first = sorted(spools(settings), key=lambda spool: spool.root not in kept.parents)
    drained = drain_out(own_first, store, settings.tenant, deadline=time.monotonic() + DELIVERY_S)
    if drained.trouble is None:  # a person waits, and a store that has failed is not asked again
        for spool in own_first:
            accounts.tell(spool, store, settings.tenant, last=True)
    if kept.exists():
        why = str(drained.trouble) if drained.trouble else f"{settings.store_url} did not take it in time."
        raise NotUploaded(f"Captured as {id_of(kept)}, and not stored yet: {why}")


def encode(report: Mapping[str, Any]) -> bytes:
    """The report as the bytes of its file."""
    return (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _describe(evidence: Evidence, kind: str, report: dict[str, Any]) -> Capture:
    return Capture(
        capture_id=evidence.capture_id,
        kind=kind,
        trigger=evidence.trigger,
        time=stamp(evidence.time),
        instance=Instance.from_json(report["instance"]),  # scrubbed: labels can hold anything
        title=title(report),
        level=evidence.level,
        links=evidence.links,
        fingerprint=report["fingerprint"],
        verdict=report["verdict"],
        cost=evidence.cost,
        incomplete=tuple(Missing(entry["section"], entry["reason"]) for entry in report["incomplete"]),
        redactions=tuple(report["redactions"]),
        redacted=all(entry["rule"] != "failed" for entry in report["redactions"]),
    )
