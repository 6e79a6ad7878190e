"""The roll: every capture of a store in 36 bytes, so that one can choose among a million of them."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from uuid import UUID

from diag.model import moment_of

NONE = 0  # no fingerprint


@dataclass(frozen=True, slots=True)
class Entry:
    """A capture as far as retention is concerned. `fingerprint` is a number that stands for it; see `number`."""

    capture_id: str
    kind: str
    service: str
    fingerprint: int
    size_bytes: int

    @property
    def made_s(self) -> float:
        """When it was made, in seconds since 1970, by its id."""
        return moment_of(self.capture_id).timestamp()


def number(fingerprint: str | None) -> int:
    """A number for a fingerprint: texts from outside would take as much memory as they like."""
    if not fingerprint:
        return NONE
    return int.from_bytes(hashlib.blake2b(fingerprint.encode("utf-8", "replace"), digest_size=8).digest()) or 1


class Roll:
    """Entries by their index, in the order in which they were added: newest first, as a store is read."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._names: dict[str, int] = {}
        self._texts: list[str] = []
        self._kinds, self._services = array("I"), array("I")
        self._fingerprints, self._sizes = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> Entry:
        capture_id = str(UUID(bytes=bytes(self._ids[index * 16 : index * 16 + 16])))
        kind, service = self._texts[self._kinds[index]], self._texts[self._services[index]]
        return Entry(capture_id, kind, service, self._fingerprints[index], self._sizes[index])

    def add(self, entry: Entry) -> None:
        """Add it at the end."""
        self._ids += UUID(entry.capture_id).bytes
        self._kinds.append(self._name(entry.kind))
        self._services.append(self._name(entry.service))
        self._fingerprints.append(entry.fingerprint)
        self._sizes.append(entry.size_bytes)

    def _name(self, text: str) -> int:
        if text not in self._names:
            self._names[text] = len(self._texts)
            self._texts.append(text)
        return self._names[text]
