"""A report as one HTML file: whole, safe to open, and the same answer as everywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from unit.report.factory import LIBC, MOMENT, crashed, ended, evidence, made, native, raised, stack

from diag.evidence import ExceptionSeen, Mapped, Sample
from diag.report import html_write
from diag.report.title import title

HOSTILE = "</style></pre><script>alert(1)</script><img src=//x.example/y onerror=alert(1)>&quot;'\"$title"
MAPS = (
    Mapped(0x7F0000000000, 0x7F0000010000, "r-xp", 0, 7, LIBC),
    Mapped(0x7FFC00000000, 0x7FFC00021000, "rw-p", 0, 0, "[stack]"),
)


class Tags(HTMLParser):
    """What a browser would see: the names of the elements, and every attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "link", "br", "rect", "path", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(report: dict[str, Any]) -> str:
    """The file as text."""
    return html_write.write(report, title(report)).decode()


REPORTS: dict[str, Callable[[], dict[str, Any]]] = {
    "live": lambda: made(evidence()),
    "exception": lambda: made(raised(cause=ExceptionSeen("OSError", "builtins", "no space", stack("save")))),
    "killed": lambda: made(ended(signal=9)),
    "exit": lambda: made(ended(7)),
    "fault": lambda: made(
        replace(
            crashed(11, address=8, trapno=14, registers={"rip": 0x7F0000000123, "rsp": 0x7FFC00000008, "rax": 0}),
            samples=tuple(Sample(MOMENT - timedelta(seconds=n), n << 20, 1.0) for n in range(9, 0, -1)),
        )
    ),
}


@pytest.mark.parametrize("case", REPORTS)
def test_it_is_one_whole_file_that_runs_nothing(case: str) -> None:
    """The verdict leads; no script, no reference to anything outside, and a policy that would forbid both."""
    report = REPORTS[case]()
    text = page(report)

    tags = Tags(text)
    assert tags.open == []
    assert not tags.names & {"script", "link", "img", "iframe", "object", "form", "a", "base"}
    assert not tags.attributes & {"src", "href", "style", "onclick", "onload", "onerror"}
    assert text.index("<h1>") < text.index("<h2>")
    assert report["verdict"]["sentence"].split("'")[0].split("(")[0] in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert style is not None and policy is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1] == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style[1] and "@import" not in style[1]


def test_a_fault_shows_registers_and_what_they_point_to() -> None:
    """The signal, where the address lies, registers, the mappings around, and the last minutes."""
    seen = crashed(11, (native("f"), *stack()), address=8, trapno=14, registers={"rip": 0x7F0000000123, "rax": 0})
    assert seen.process is not None
    text = page(made(replace(seen, process=replace(seen.process, maps=MAPS))))
    for words in ("a NULL pointer plus 8", "libc.so.6+0x123", "Memory around the fault", "NULL"):
        assert words in text, words


def test_hostile_text_stays_text() -> None:
    """Markup in any text of a report, and in any key, is shown as what it is."""

    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            return {**{key: poisoned(one) for key, one in value.items()}, HOSTILE: HOSTILE}
        if isinstance(value, list):
            return [*(poisoned(one) for one in value), HOSTILE]
        return HOSTILE if isinstance(value, str) else value

    for case in REPORTS.values():
        report = poisoned(case())
        tags = Tags(html_write.write(report, HOSTILE).decode())
        assert not tags.names & {"script", "img"} and tags.open == []


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [[]], [None], {"x": [1]}, -1e308])
def test_another_shape_than_the_schema_says_is_left_out(value: Any) -> None:
    """A report is anybody's: whatever stands in a section, there is a page."""
    report = REPORTS["fault"]()
    for key in report:
        Tags(html_write.write({**report, key: value}, "t").decode())
        for inner in report[key] if isinstance(report[key], dict) else ():
            Tags(html_write.write({**report, key: {**report[key], inner: value}}, "t").decode())


def test_a_large_report_makes_a_bounded_page() -> None:
    """Four megabytes of frames do not become forty of markup."""
    report = json.loads(json.dumps(REPORTS["fault"]()))
    report["threads"] *= 2000
    report["modules"] = [{"path": "/x" * 100, "buildId": "ab" * 20, "base": "0x0", "end": "0x1"}] * 20_000
    assert len(html_write.write(report, "t")) < 8_000_000
