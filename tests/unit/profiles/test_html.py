"""A profile as one HTML file."""

from __future__ import annotations

import re

from hypothesis import given, settings
from profiled import frame, profile, profiles

from diag.profiles import formats
from diag.profiles.builder import Builder
from diag.profiles.model import SAMPLES, Frame, Profile


@settings(max_examples=40, deadline=None)
@given(profiles(timed=True))
def test_any_profile_has_a_page(one: Profile) -> None:
    """Whatever its names, numbers and times are."""
    assert formats.write(one, "html").startswith(b"<!doctype html>")


def test_what_a_profile_says_is_text() -> None:
    """Markup in a name is shown, and never stands as markup in the page or in the frame inside of it."""
    builder = Builder([SAMPLES])
    hostile = "</script><script>alert(1)</script>\"'$title"
    builder.add(builder.stack((builder.frame(Frame(hostile, hostile)),)), (1,))

    page = formats.write(builder.build(start_ns=1 << 70), "html").decode()

    assert "alert(1)" in page and "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert "Taken at" not in page


def test_a_page_asks_for_nothing() -> None:
    """No address stands where a browser would fetch it, and the policy forbids what a script would."""
    page = formats.write(profile(("main;work", 5)), "html").decode()

    assert not re.search(r"(?:src|href)=[\"']?(?:http|/)", page.replace(frame("work").file, ""))
    assert "default-src 'none'" in page.partition("<style>")[0]
