"""The transcript of a command: asciicast v2, without secrets, within its limit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from diag.collectors.beside import transcript as module
from diag.collectors.beside.transcript import Transcript
from diag.redact import Redactor, unstyled

KEY = "-----BEGIN RSA PRIVATE KEY-----\r\nMIIEow{0}\r\nabcdef\r\n-----END RSA PRIVATE KEY-----\r\n"


def written(path: Path, *chunks: str | bytes, environment: dict[str, str] | None = None) -> list[list]:
    """The events after these chunks came in, a second apart."""
    redactor = Redactor(environment=environment)
    began = datetime(2026, 1, 2, tzinfo=UTC)
    transcript = Transcript(
        path / "a.cast", redactor, size=(80, 24), began=began, command=["x", "--password", "p4ss"], term="xterm"
    )
    for number, chunk in enumerate(chunks):
        transcript.output(float(number), "stdout", chunk.encode() if isinstance(chunk, str) else chunk)
    transcript.close(float(len(chunks)))
    return [json.loads(line) for line in (path / "a.cast").read_text().splitlines()]


def output(events: list[list]) -> str:
    """All that was written."""
    return "".join(event[2] for event in events[1:])


def test_header_and_times(tmp_path: Path) -> None:
    """The header is asciicast's, with the command redacted; each piece keeps its own time."""
    header, *events = written(tmp_path, "one ", "two\r\n", "end")
    assert header == {
        "version": 2,
        "width": 80,
        "height": 24,
        "timestamp": 1767312000,
        "command": "x --password '[redacted:secret]'",
        "env": {"TERM": "xterm"},
    }
    assert events == [[0.0, "o", "one "], [1.0, "o", "two\r\n"], [2.0, "o", "end"]]
    assert (tmp_path / "a.cast").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "chunks",
    [
        ("password=hun", "ter2-zz\r\n"),
        ("pass", "word", "=", "hunter2-zz\r\n"),
        ("\x1b[31mpassword\x1b[m\x1b[K=hunter2-zz\r\n",),
        ("password=huX", "\b \b", "nter2-zz\r\n"),
        ("\x1b]0;password=hunter2-zz\x07title\r\n",),
        ("password=hunter2-zz",),
        tuple(KEY.format("hunter2-zz").partition("w")),
        ("x" * 65_000 + " password=hun", "ter2-zz", "y" * 1000, "hunter2-zz", "\r\nafter\r\n"),
    ],
    ids=["split", "letters", "colours", "corrected", "title", "no line end", "key", "long line"],
)
def test_no_secret_slips_through(tmp_path: Path, chunks: tuple[str, ...]) -> None:
    """However a secret arrives, it is not in the file."""
    text = output(written(tmp_path, *chunks))
    assert "ter2" not in unstyled(text)
    assert "redacted" in text or "left out" in text or text == "title\r\n"


def test_value_of_the_environment(tmp_path: Path) -> None:
    """A secret variable's value is masked wherever it stands; other values are not."""
    text = output(
        written(
            tmp_path,
            "it is zebra-giraffe-7, as eins-zwei-drei\n",
            environment={"A_TOKEN": "zebra-giraffe-7", "B": "eins-zwei-drei"},
        )
    )
    assert text == "it is [redacted:environment-value], as eins-zwei-drei\n"


def test_characters_that_are_split(tmp_path: Path) -> None:
    """A character whose bytes come one by one is whole; bytes that are none become U+FFFD."""
    assert output(written(tmp_path, "ä".encode()[:1], "ä".encode()[1:], b"\xff\n")) == "ä\ufffd\n"


def test_long_lines_are_written_while_they_grow(tmp_path: Path) -> None:
    """A program that never ends a line is not held in memory, and nothing of it is lost."""
    chunks = [f"{number:06d} " * 1000 for number in range(100)]
    events = written(tmp_path, *chunks)
    assert output(events) == "".join(chunks)
    assert events[1][0] == 0.0
    assert len(events) > 90


def test_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its limit the transcript ends with a note, and what comes then is not written."""
    monkeypatch.setattr(module, "LIMIT_BYTES", 2000)
    events = written(tmp_path, *(f"line {number}\r\n" for number in range(500)))
    assert (tmp_path / "a.cast").stat().st_size < 2500
    assert "has reached its limit" in events[-1][2]
