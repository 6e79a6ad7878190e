"""The page of stacks: who waits for whom first, then groups, tasks, and what moved."""

from __future__ import annotations

import json

import pytest
import stacked
from viewers import Running


def page_of(viewer: Running, data: bytes | None = None) -> str:
    """The page of a delivered capture with this document."""
    capture = stacked.made(data)
    assert set(viewer.deliver(capture)) <= {200, 201}
    answer = viewer.get(f"captures/{capture.id}")
    assert answer.status_code == 200
    return answer.text


def test_the_page_says_who_waits_for_whom(viewer: Running) -> None:
    """The verdict with its proof, groups of threads, the request of one, the tree of tasks, the looks."""
    page = page_of(viewer)

    assert "Deadlock: billing (4719) and stock (4720) wait for each other." in page
    assert "its owner says so" in page
    assert "39 threads" in page and "pool-5001" in page
    assert 'href="/requests/req-17"' in page
    assert "3 asyncio tasks" in page and "has not turned for 4.2 s" in page
    assert 'class="depth-2"' in page
    assert "2 looks in a row" in page and "1 of 42 threads moved" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("part", ["looks", "stacks", "verdict"])
def test_a_bad_document_still_has_a_page(viewer: Running, part: str) -> None:
    """The file is there to save, and the page says that it cannot be read."""
    page = page_of(viewer, json.dumps({**stacked.document(), part: [7]}).encode())

    assert "Not all can be shown" in page
    assert "stacks.json" in page
