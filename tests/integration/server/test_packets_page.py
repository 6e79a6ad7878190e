"""The page of captured packets: what it answers first, what it links to, and that hostile summaries stay text."""

from __future__ import annotations

import json

import deaths
import overheard
import pytest
from viewers import Running


def page_of(viewer: Running, summary: bytes) -> str:
    """The page of a delivered capture with this summary."""
    capture = overheard.made(summary)
    assert set(viewer.deliver(capture)) <= {200, 201}
    answer = viewer.get(f"captures/{capture.id}")
    assert answer.status_code == 200
    return answer.text


def test_the_page_says_what_was_slow_and_what_failed(viewer: Running) -> None:
    """The slowest exchange with its request and trace, failures, conversations, losses, the file."""
    page = page_of(viewer, json.dumps(overheard.SUMMARY).encode())

    assert "250 ms" in page
    assert 'href="/requests/req-17"' in page
    assert f'href="/traces/{deaths.TRACE}"' in page
    assert "2 connect refused" in page
    assert "5 packets came too fast" in page
    assert "packets.pcap" in page
    assert "<script>alert" not in page
    assert "req-17" in viewer.get("requests/req-17").text


@pytest.mark.parametrize("summary", [b"no json", b"[]", b'{"slowest": {"a": [1]}, "conversations": 7}'])
def test_a_bad_summary_still_has_a_page(viewer: Running, summary: bytes) -> None:
    """The files are there to save, and where it cannot be read the page says so."""
    page = page_of(viewer, summary)

    assert "packets.pcap" in page
    assert ("Not all can be shown" in page) == (summary[:1] != b"{")
