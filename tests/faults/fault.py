"""One way to end, as data: what is run, and what has to be left of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PYTHON = "{python}"
LIBRARY = "{library}"  # tests/programs/real_faults.c, compiled
GO = "{go}"  # tests/programs/dying.go, built
PROGRAMS = "{programs}"  # the folder tests/programs
OLDEST, NEWEST = "3.8", "3.99"


@dataclass(frozen=True, slots=True)
class Left:
    """One record that has to be left. `says` stands in its verdict, `lacks` in what it says is missing and why."""

    level: str
    cause: str
    says: str = ""
    lacks: str = ""
    confidence: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A program that ends. `code` is written to app.py; `command` runs it, with the names above filled in.

    `left` are the records wanted, in any order. Where `talks` is set what it writes is another text each time (pids,
    times, threads that finish first) and is not compared. `own` means the Python that diag runs with, and what is
    installed there; `root` that the program has to be root; `needs` names a file without which this kind is not there;
    `bare` that in a container less is known of it; `parental` that who is not the parent may come too late. `joined`
    are the records of an instance that joined a `diag agent`, where that, as nobody's parent, leaves others. Of
    `sampled` ends, a crash loop, only some leave theirs.
    """

    family: str
    name: str
    left: tuple[Left, ...]
    code: str = ""
    command: tuple[str, ...] = (PYTHON, "app.py", LIBRARY)
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    since: str = OLDEST
    until: str = NEWEST
    talks: bool = False
    own: bool = False
    root: bool = False
    needs: str = ""
    bare: bool = False
    parental: bool = False
    sampled: bool = False
    joined: tuple[Left, ...] | None = None

    def wanted(self, *, joined: bool) -> tuple[Left, ...]:
        """The records that are wanted under `diag run`, or of an instance that joined a `diag agent`."""
        return self.left if self.joined is None or not joined else self.joined

    @property
    def full_name(self) -> str:
        """`family: name`."""
        return f"{self.family}: {self.name}"

    def runs_on(self, version: str) -> bool:
        """Whether this kind is there on a Python such as "3.11"."""
        return _number(self.since) <= _number(version) <= _number(self.until)

    def texts(self) -> dict[str, str]:
        """What stands in the program's folder before it starts, by name."""
        return {**({"app.py": self.code} if self.code else {}), **self.files}


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
