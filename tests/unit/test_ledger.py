"""The ledger: counts that survive torn writes, repeats and folding."""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.spool import ledger as module
from diag.spool.ledger import SIZE, Ledger


def counted(folder: Path) -> tuple[int, int, dict[str, int]]:
    """What a fresh reader of the ledger sees."""
    book = Ledger(folder).read()
    return book.received, book.stored, dict(book.dropped)


def test_an_empty_folder_counts_nothing(tmp_path: Path) -> None:
    """Reading creates nothing and fails on nothing."""
    assert counted(tmp_path) == (0, 0, {})
    assert list(tmp_path.iterdir()) == []


def test_the_same_id_counts_once(tmp_path: Path) -> None:
    """A line that is written again after a crash changes no count, and the first outcome stands."""
    ledger = Ledger(tmp_path)
    for _ in range(2):
        book = ledger.read()
        ledger.received(book, "a")
        ledger.stored(book, "a")
        ledger.dropped(book, "quota", "a")
        ledger.dropped(book, "quota", "b")

    assert counted(tmp_path) == (1, 1, {"quota": 1})


def test_what_was_dropped_and_has_arrived_is_no_loss(tmp_path: Path) -> None:
    """A capture that was dropped while it was on its way is stored, once; the other losses stand."""
    ledger = Ledger(tmp_path)
    for _ in range(2):
        book = ledger.read()
        for one in ("a", "b"):
            ledger.received(book, one)
            ledger.dropped(book, "quota", one)
        ledger.stored(book, "a")

    assert counted(tmp_path) == (2, 1, {"quota": 1})


def test_a_torn_line_does_not_count_and_is_written_over(tmp_path: Path) -> None:
    """A writer killed in the middle of a line leaves no count and no damage for the next line."""
    ledger = Ledger(tmp_path)
    ledger.received(ledger.read(), "a")
    path = tmp_path / "ledger.0"
    content = bytearray(path.read_bytes())
    end = ledger.read().end
    torn = (
        b'{"dropped": "a", "reason": "a reason that is longer than the next line is by far, so that some of it stays"'
    )
    content[end : end + len(torn)] = torn
    path.write_bytes(content)

    assert counted(tmp_path) == (1, 0, {})
    ledger.stored(ledger.read(), "a")

    assert counted(tmp_path) == (1, 1, {})
    assert path.stat().st_size == SIZE


def test_a_lost_block_costs_its_lines_only(tmp_path: Path) -> None:
    """Lines around damaged ones still count."""
    ledger = Ledger(tmp_path)
    for name in ("a", "b", "c"):
        ledger.received(ledger.read(), name)
    path = tmp_path / "ledger.0"
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"\xff"').replace(b'"received": "\xff"', b'"x": [[[[[[[["'))

    assert counted(tmp_path)[0] == 2


def test_folding_keeps_every_count(tmp_path: Path) -> None:
    """Totals carry over, the old lines go, and later lines add to them."""
    ledger = Ledger(tmp_path)
    ledger.received(ledger.read(), "a")
    ledger.stored(ledger.read(), "a")
    ledger.dropped(ledger.read(), "quota", "b")

    ledger.fold(ledger.read())
    ledger.received(ledger.read(), "c")

    assert counted(tmp_path) == (2, 1, {"quota": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.1", "totals.json"]


def test_it_asks_to_be_folded_before_its_blocks_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for the next losses when it says that it is full."""
    monkeypatch.setattr(module, "FOLD_AT", 1000)
    ledger = Ledger(tmp_path)
    book = ledger.read()
    while not ledger.full(book):
        ledger.received(book, f"{book.received}")

    assert 0 < ledger.read().received < 100


def test_its_files_are_private(tmp_path: Path) -> None:
    """Nobody else may read what was recorded here."""
    ledger = Ledger(tmp_path)
    ledger.received(ledger.read(), "a")
    ledger.fold(ledger.read())

    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
