"""Compares what is in store and spool with the campaign's own ledger, byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diag.model import MANIFEST
from diag.upload import keys
from durability.ledger import Ledger, Plan, digest
from durability.place import Look, Place
from durability.trial import Outcome

Objects = Mapping[str, bytes]


def judge(
    ledger: Ledger,
    place: Place,
    look: Look,
    objects: Objects,
    outcome: Outcome,
    *,
    excuses: Iterable[str] = (),
    aside: Iterable[str] | None = (),
) -> Outcome:
    """Add to the outcome what is wrong after the last flush.

    `excuses` are the reasons under which acknowledged captures may have been dropped. `aside` are the captures that
    may stand in quarantine: None for any.
    """
    account = _ended_well(look, outcome)
    if account is None:
        return outcome
    stored, waiting, quarantined = _stored(objects), place.waiting(), place.quarantined()
    _check_bytes(ledger, objects, stored, waiting, outcome)
    _check_loss(ledger, look, {*stored, *waiting, *quarantined}, set(excuses), outcome)
    _check_account(ledger, account, stored, set(waiting), set(quarantined), outcome)
    if aside is not None:
        for one in sorted(set(quarantined) - set(aside)):
            outcome.broken.append(f"{one} is in quarantine without a cause: {_reason(quarantined[one])}")
    return outcome


def check_identity(look: Look, outcome: Outcome) -> None:
    """`received = stored + pending + quarantined + dropped`, at any look."""
    account = look.account
    if account is None:
        outcome.broken.append(f"diag flush ended with {look.status} and no account: {look.said!r}")
        return
    parts = account["stored"] + account["pending"] + account["quarantined"] + sum(account["dropped"].values())
    if account["received"] != parts:
        outcome.uncounted.append(f"received {account['received']} is not the sum {parts}: {account}")


def check_store(ledger: Ledger, objects: Objects, outcome: Outcome) -> None:
    """At any moment, what has a manifest in the store is whole there: artifacts come first."""
    for one, prefix in _stored(objects).items():
        files = {key.removeprefix(prefix): data for key, data in objects.items() if key.startswith(prefix)}
        outcome.doubled += [f"{one} in the store: {wrong}" for wrong in _wrong(ledger, one, files)]


def check_children(place: Place, statuses: Mapping[str, int], outcome: Outcome) -> None:
    """Nobody may end by an exception that nobody expected."""
    for name, status in statuses.items():
        if status == 70:
            outcome.broken.append(f"{name} failed: {place.log()}")


def _ended_well(look: Look, outcome: Outcome) -> dict[str, Any] | None:
    check_identity(look, outcome)
    if look.hung:
        outcome.broken.append(f"diag flush hangs: {look.said!r}")
    elif look.account and look.pending:
        outcome.broken.append(f"the spool does not drain after the faults: {look.said!r}")
    return look.account


def _stored(objects: Objects) -> dict[str, str]:
    """Capture id -> the prefix of its keys, of each capture with a manifest."""
    found = {}
    for key in objects:
        parts = keys.parse(key)
        if parts and parts[2] == MANIFEST:
            found[parts[1]] = key.removesuffix(MANIFEST)
    return found


def _check_bytes(
    ledger: Ledger, objects: Objects, stored: Mapping[str, str], waiting: Mapping[str, Path], outcome: Outcome
) -> None:
    check_store(ledger, objects, outcome)
    for one, folder in waiting.items():
        files = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
        outcome.lost += [f"{one} in the spool: {wrong}" for wrong in _wrong(ledger, one, files)]
    for one in sorted(set(stored) & set(waiting)):
        outcome.doubled.append(f"{one} is in the store and still waits")


def _wrong(ledger: Ledger, one: str, files: Mapping[str, bytes]) -> list[str]:
    """What is wrong with a capture's files: each is what the manifest says, and what the campaign's ledger says."""
    try:
        manifest = json.loads(files[MANIFEST])
        said = {entry["name"]: entry["sha256"] for entry in manifest["artifacts"]}
    except (ValueError, KeyError, TypeError) as error:
        return [f"its manifest cannot be read ({type(error).__name__})"]
    if manifest.get("capture_id") != one:
        return [f"its manifest is of {manifest.get('capture_id')}"]
    found = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != MANIFEST}
    wrong = [f"{name} is not what its manifest says" for name in said if found.get(name) != said[name]]
    plan = ledger.plans.get(one)
    if plan is None:
        return [*wrong, "nobody captured it"]
    return wrong + _differences(plan, manifest, files, whole=one in ledger.acknowledged)


def _differences(plan: Plan, manifest: Mapping[str, Any], files: Mapping[str, bytes], *, whole: bool) -> list[str]:
    """Who was acknowledged is there as planned; another may lack files, or the end of one, and says so."""
    wrong = []
    for name, size in plan.files:
        data = files.get(name)
        if data is not None and digest(data) == digest(plan.content(name)):
            continue
        if whole:
            wrong.append(f"{name} has other bytes" if data is not None else f"{name} is missing")
        elif data is not None and not (len(data) <= size and plan.content(name).startswith(data)):
            wrong.append(f"{name} has bytes that were never written")
        elif not manifest.get("incomplete"):
            wrong.append(f"{name} is not whole, and nothing says so")
    if whole and manifest.get("incomplete"):
        wrong.append(f"it was acknowledged whole, and says {manifest['incomplete']}")
    what = (manifest.get("kind"), manifest.get("title"), manifest.get("instance", {}).get("name"))
    if what != (plan.kind, "ValueError: no price", "shop"):
        wrong.append(f"its manifest says {what}")
    return wrong


def _check_loss(ledger: Ledger, look: Look, here: set[str], excuses: set[str], outcome: Outcome) -> None:
    missing = sorted(ledger.acknowledged - here)
    unmade = len(set(ledger.plans) - ledger.acknowledged - here)
    excused = max(0, sum(count for reason, count in look.dropped.items() if reason in excuses))
    if len(missing) > excused:
        outcome.lost += [f"{one} was acknowledged and is nowhere ({look.dropped}, {unmade} unmade)" for one in missing]


def _check_account(
    ledger: Ledger,
    account: Mapping[str, Any],
    stored: Mapping[str, str],
    waiting: set[str],
    quarantined: set[str],
    outcome: Outcome,
) -> None:
    received, least, most = account["received"], len(ledger.begun), len(ledger.plans)
    if not least <= received <= most:
        outcome.uncounted.append(f"received is {received}, and {least} to {most} were begun: {account}")
    found = Counter(stored=len(set(stored) - waiting - quarantined), pending=len(waiting), quarantined=len(quarantined))
    for name, count in found.items():
        if account[name] != count:
            outcome.uncounted.append(f"{name} is {account[name]}, and there are {count}: {account}")


def _reason(folder: Path) -> str:
    path = folder / ".reason"
    return path.read_text(errors="replace").strip() if path.exists() else "no reason given"
