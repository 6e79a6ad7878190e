"""What the campaign's children do: the product's own code, and a line to the campaign after each step."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from diag import config
from diag.cli.main import run_command_line
from diag.errors import DiagError, SpoolUnwritable
from diag.spool import Spool
from diag.upload.stores import open_store
from diag.upload.uploader import Uploader
from durability.ledger import Plan

Say = Callable[[dict[str, Any]], None]
Work = Callable[[Say], int]


def record(plans: Sequence[Plan], *, adopt: bool = False, after: Callable[[], None] = lambda: None) -> Work:
    """Commit these captures one after the other. A refusal is said, and the next one tried.

    With `adopt` the last file is written into the draft's folder first, as collectors do.
    """

    def work(say: Say) -> int:
        spool = Spool.of(config.load())
        for one in plans:
            record_one(spool, one, say, adopt=adopt)
            after()
        return 0

    return work


def record_one(spool: Spool, one: Plan, say: Say, *, adopt: bool = False) -> None:
    """Commit one, and say how far it came."""
    name = one.capture_id
    say({"begins": {"id": name, "kind": one.kind, "files": one.files, "fingerprint": one.fingerprint}})
    try:
        with spool.begin(one.capture()) as draft:
            say({"begun": name})
            for number, (file, _) in enumerate(one.files, 1):
                content: Any = one.content(file)
                if adopt and number == len(one.files):
                    path = draft.folder / file
                    try:
                        path.write_bytes(content)
                    except OSError as error:
                        raise SpoolUnwritable(f"The collector could not write {path}: {error}.") from error
                    content = path
                draft.add(file, "report", "text", "text/plain", content)
            draft.commit(one.capture())
    except SpoolUnwritable as error:
        say({"refused": name, "why": str(error)})
        return
    say({"committed": name})


def flush(say: Say) -> int:
    """`diag flush --json`; its object goes to this child's standard output."""
    return run_command_line(["flush", "--json"])


def agent(plans: Sequence[Plan], *, pause_s: float = 0.0) -> Work:
    """Record and deliver at once, as an agent does: the uploader runs beside the writer."""

    def work(say: Say) -> int:
        settings = config.load()
        uploader = Uploader(Spool.of(settings), open_store(settings.store_url, settings.token), settings.tenant)
        uploader.start()

        def wake() -> None:
            uploader.wake()
            time.sleep(pause_s)

        status = record(plans, after=wake)(say)
        uploader.stop(5.0)
        return status

    return work


def stated(work: Work) -> Work:
    """The same, where a DiagError ends it as the command line would."""

    def run(say: Say) -> int:
        try:
            return work(say)
        except DiagError as error:
            print(f"diag: {error}", file=sys.stderr)
            return error.exit_code

    return run
