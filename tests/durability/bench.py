"""What a trial works with: stores, the proxy before them, and a folder that is gone afterwards."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from durability.front import Front
from durability.place import Place
from durability.stores import Corner, Stores


@dataclass(slots=True)
class Bench:
    """One worker's."""

    folder: Path
    stores: Stores
    front: Front
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def place(
        self,
        kind: str,
        *,
        through_front: bool = False,
        state: Path | None = None,
        store: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[Place, Corner]]:
        """A machine with a store of this kind; all that runs on it is killed at the end.

        With `through_front` the store is reached by way of the proxy, which has to be given its script. `state` and
        `store` are folders in place of the home's own.
        """
        home = self.folder / f"{next(self._numbers)}"
        home.mkdir()
        corner = self.stores.corner(kind, store or home / "store")
        url = corner.url(self.front.url if through_front else "")
        place = Place(home, {**corner.variables, "DIAG_STORE": url, **(variables or {})}, state)
        try:
            yield place, corner
        finally:
            place.kill_all()
            corner.clear()
            shutil.rmtree(home, ignore_errors=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder beside the places."""
        path = self.folder / f"scratch-{next(self._numbers)}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
