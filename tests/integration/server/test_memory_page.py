"""The page of a capture of memory: what it answers first, and that whatever stands there stays text."""

from __future__ import annotations

import json

import pytest
import remembered
from viewers import Running


def test_the_page_says_who_holds_it(viewer: Running) -> None:
    """The answer, what became more, types, mappings with their growth, and what it cost, without a script."""
    made = remembered.made(remembered.told())
    assert set(viewer.deliver(made)) == {201}

    page = viewer.get(f"captures/{made.id}").text

    assert page.index("82 % of 11.0 MiB") < page.index("What became more") < page.index("libshop.so")
    for words in ("+4,000", "+3.0 MiB", "12,000", "45.0 MiB (+6.0 MiB)", "+6.0 MiB", "250 ms", "Largest objects"):
        assert words in page, words
    assert "flamegraph" not in page.replace("flamegraph.js", "")


def test_the_page_of_allocations(viewer: Running) -> None:
    """Functions by what they keep, the picture, the flame graph, downloads, and others to compare with."""
    profile = remembered.heap()
    first, second = (remembered.made(remembered.told(profile), profile) for _ in range(2))
    without = remembered.made(remembered.told())
    for made in (first, second, without):
        viewer.deliver(made)

    page = viewer.get(f"captures/{second.id}").text
    saved = viewer.get(f"captures/{second.id}/profile.html").text
    differs = viewer.get(f"diff?a={first.id}&b={second.id}")

    assert "In use, by where it was allocated" in page
    assert 'class="icicle"' in page
    assert f"/captures/{second.id}/flamegraph#profileURL=" in page
    assert first.id in page
    assert without.id not in page
    assert "of the memory in load" in saved
    assert differs.status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        *(b"no json", b"[]", b"{}", b'{"mappings": {"groups": 7, "process": []}, "types": {"rows": [{"bytes": "x"}]}}'),
        json.dumps(
            {
                "facts": ["<script>alert(1)</script>"],
                "mappings": {
                    "groups": [{"name": "<script>alert(1)</script>", "rss": 10**400, "growth": {"rss": True}}]
                },
                "types": {"rows": [{"name": "<script>alert(1)</script>", "count": None, "growth": {"bytes": 5}}]},
                "allocations": [{"by_self": [{"function": "<script>alert(1)</script>", "self_share": 9e300}]}],
            }
        ).encode(),
    ],
)
def test_a_bad_summary_still_has_a_page(viewer: Running, content: bytes) -> None:
    """The file is there to save; nothing in it is markup."""
    made = remembered.made(content)
    viewer.deliver(made)

    answer = viewer.get(f"captures/{made.id}")

    assert answer.status_code == 200
    assert "memory.json" in answer.text
    assert "<script>alert" not in answer.text
    assert ("Not all can be shown" in answer.text) == (content == b"no json")
