"""What was started inside a process is ended again, whatever becomes of diag: a small process beside us sees to that.

It reads from a pipe whose other end is ours. When that end is gone and nobody said that all is well, it asks the probe
to end what was started, again and again, for an hour.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from diag.collectors import questions
from diag.collectors.collector import Subject
from diag.collectors.proc import still_runs
from diag.collectors.procfs import gone
from diag.collectors.questions import Answer, NotAnswered
from diag.errors import Busy, DiagError, NoSuchInstance
from diag.model import Instance

KEEPS_ON_S = 3600.0
AGAIN_S = 1.0
_DONE = b"done\n"


class Kept:
    """A recording that the probe starts and ends; `held_s` adds up for how long the main thread stood still for it.

    `file` is removed where the keeper ends it: nobody reads it any more.
    """

    def __init__(self, subject: Subject, question: str, *, file: Path | None = None) -> None:
        self._subject = subject
        self._file = file
        self._question = question
        self._token = secrets.token_hex(8)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._ended = False
        self.held_s = 0.0

    def __enter__(self) -> Self:
        who = self._subject.pid, self._subject.start_ticks, str(self._subject.run_dir)
        order = [*who, self._question, self._token, str(self._file or "")]
        home = str(Path(__file__).resolve().parents[2])
        start = f"import sys; sys.path.insert(0, {home!r}); from {__spec__.name} import main; main()"
        # A session of its own: what ends diag's group, such as a closed terminal, leaves it alone.
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(json.dumps(order).encode() + b"\n")
        self._keeper.stdin.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Where it was not ended, the keeper does it: it notices that this end of the pipe is gone."""
        assert self._keeper is not None and self._keeper.stdin is not None
        if self._ended:
            self._keeper.stdin.write(_DONE)
        self._keeper.stdin.close()
        if self._ended:
            self._keeper.wait()
        else:
            self._keeper.returncode = 0  # it outlives us, and is nobody's zombie then

    def ask(self, do: str, arguments: Mapping[str, Any] | None = None, *, patience_s: float) -> Any:
        """What the probe answers to this way of the question. Raises what `questions.ask` does."""
        who, told = self._subject, {"do": do, "token": self._token, **(arguments or {})}
        until = time.monotonic() + patience_s
        while True:
            try:
                answer: Answer = questions.ask(who, self._question, told, patience_s=patience_s)
            except NotAnswered:
                if not still_runs(who.pid, who.start_ticks):  # then its box may be gone, too
                    raise gone(who.pid) from None
                raise
            except Busy:  # another diag asks something: a moment, as a rule
                if time.monotonic() > until:
                    raise
                time.sleep(AGAIN_S / 10)
            else:
                self.held_s += answer.held_s
                return answer.value

    def end(self, do: str, arguments: Mapping[str, Any] | None = None, *, patience_s: float) -> Any:
        """What the probe answers to the way that ends it; None where the process has ended by itself.

        Raises what `questions.ask` does; then the keeper goes on trying.
        """
        try:
            value = self.ask(do, arguments, patience_s=patience_s)
        except NoSuchInstance:
            value = None
        except NotAnswered as error:
            words = f"{error.help_text} What was started in it is still on; diag goes on trying to end it for an hour."
            raise NotAnswered(str(error), words) from error
        self._ended = True
        return value


def main() -> NoReturn:
    """The keeper. Never returns."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    pid, ticks, run_dir, question, token, file = json.loads(sys.stdin.buffer.readline())
    if sys.stdin.buffer.read() != _DONE:
        subject = Subject(Instance("", "", "", "", pid, ""), pid, ticks, "python", None, Path(run_dir))
        _end(subject, question, token)
        if file:
            Path(file).unlink(missing_ok=True)
    os._exit(0)


def _end(subject: Subject, question: str, token: str) -> None:
    until = time.monotonic() + KEEPS_ON_S
    while time.monotonic() < until and still_runs(subject.pid, subject.start_ticks):
        try:
            questions.ask(subject, question, {"do": "end", "token": token}, patience_s=60)
            return
        except (DiagError, OSError):
            time.sleep(AGAIN_S)  # its main thread is busy, or another diag asks: later, then
