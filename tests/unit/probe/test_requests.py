"""Ids and paths as they come from outside."""

from __future__ import annotations

import pytest

from diag.probe.diag_probe import requests, wsgi

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "value",
    [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-ff", f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-more"],
)
def test_valid_trace_parent(value: str) -> None:
    """The version that is, and those that may come."""
    assert requests.trace_parent(value) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}--{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        "0" * 55,
    ],
)
def test_invalid_trace_parent(value: str) -> None:
    """Anything else is no trace: https://www.w3.org/TR/trace-context/."""
    assert requests.trace_parent(value) == (None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("abc", "abc"),
        (" abc ", "abc"),
        ("", None),
        ("  ", None),
        ("a\r\nb", "a??b"),
        ("x" * 50, "x" * 10),
        ("é" * 50, "é" * 5),
        ("\udcff", "?"),
    ],
)
def test_clean(value: str, expected: str | None) -> None:
    """Printable, at most so many bytes, or nothing."""
    assert requests.clean(value, 10) == expected


def test_path_is_decoded_without_query() -> None:
    """PEP 3333 hides bytes in a latin-1 string; the mount point belongs to the path."""
    environ = {
        "SCRIPT_NAME": "/shop",
        "PATH_INFO": "/é".encode().decode("latin-1"),
        "QUERY_STRING": "secret=1",
        "REQUEST_METHOD": "POST",
    }

    assert wsgi._identify(environ) == (None, None, None, "POST", "/shop/é")
