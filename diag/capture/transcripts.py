"""A transcript as a capture: its title, its facts, its one file, which was redacted while it was written."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial

from diag.capture.take import During, File, Refined
from diag.collectors.collector import Collected
from diag.redact import Redactor
from diag.report.reading import duration

TITLE_LENGTH = 90


def refiner(verb: str) -> Callable[[Collected, During], Refined]:
    """What makes a capture of a transcript; `verb` is `exec` or `shell`."""
    return partial(_refine, verb)


def _refine(verb: str, collected: Collected, _: During) -> Refined:
    facts = collected.facts
    (made,) = collected.files
    took = duration(facts["seconds"])
    left = facts["killed"]
    return Refined(
        files=(File(made.path.name, made.kind, made.format, made.content_type, made.path),),
        title=f"{_named(verb, facts['command'])} ({_ended(facts['ended_by'], facts['status'])}, {took})",
        facts=(
            f"{_ended(facts['ended_by'], facts['status'])} after {took}",
            facts["where"],
            f"what it had left running was ended: {left}" if left else "nothing was left running",
        ),
        redactions=facts["redactions"],
        status=facts["status"],
    )


def unfinished(verb: str, command: Sequence[str]) -> str:
    """The title of a capture whose diag was killed."""
    return f"{_named(verb, Redactor().argv(command))} (diag was killed)"


def _named(verb: str, command: Sequence[str]) -> str:
    line = f"{verb}: {shlex.join(command)}" if verb == "exec" else verb
    return line if len(line) <= TITLE_LENGTH else f"{line[: TITLE_LENGTH - 1]}…"


def _ended(ended_by: str, status: int) -> str:
    words = {"itself": f"exit {status}", "timeout": "time limit", "idle": "idle too long", "lost": "the instance ended"}
    return words.get(ended_by, f"ended by {ended_by}")
