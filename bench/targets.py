"""What on-demand captures are taken of: a program that computes, and one that serves requests without a pause."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure import PROGRAMS, started

SERVER = PROGRAMS.parents[1] / "tests" / "programs" / "web_wsgi.py"


@dataclass(frozen=True)
class Target:
    """A process, and how to ask what it has done until now: rounds, or requests at its port."""

    pid: int
    work: Callable[[], float]
    port: int = 0


@contextmanager
def computing(environment: dict[str, str]) -> Iterator[Target]:
    """It counts its rounds."""
    with started([sys.executable, str(PROGRAMS / "rounds.py")], environment) as child:
        assert child.stdout is not None
        child.stdout.readline()
        counter = Path(environment["HOME"]) / "rounds"
        yield Target(child.pid, lambda: float(counter.read_text() or 0))


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[Target]:
    """It is asked again and again, each time on a connection of its own."""
    with started([sys.executable, str(SERVER)], environment) as child:
        assert child.stdout is not None
        port, done, enough = int(child.stdout.readline()), [0], threading.Event()

        def ask() -> None:
            while not enough.is_set():
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/")
                connection.getresponse().read()
                connection.close()
                done[0] += 1

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield Target(child.pid, lambda: float(done[0]), port)
        finally:
            enough.set()
            thread.join()


TARGETS: dict[str, Callable[[dict[str, str]], AbstractContextManager[Target]]] = {
    "computes": computing,
    "serves": serving,
}
