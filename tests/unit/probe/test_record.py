"""Exceptions as plain data, and how they are made to fit."""

from __future__ import annotations

import contextlib
import marshal
from typing import Any

import pytest

from diag.probe.diag_probe import layout, record


def caught(error: Exception) -> Exception:
    """The exception with a traceback."""
    with contextlib.suppress(type(error)):
        raise error
    return error


def entry_of(exc: BaseException, *, with_locals: bool = False) -> dict[str, Any]:
    """An exception record around this exception."""
    described = record.describe(exc, exc.__traceback__, with_locals)
    return {"time": 1.0, "kind": "uncaught", "tid": 1, "exception": described, "request": None, "suppressed": 0}


def test_chain_that_is_too_long_is_cut() -> None:
    """Of a chain of thousands the first are kept, without recursion."""
    exc = ValueError("0")
    for number in range(5000):
        following = ValueError(str(number))
        following.__cause__, exc = exc, following

    described, depth = record.describe(exc, None), 0
    while described is not None:
        described, depth = described["cause"], depth + 1

    assert depth == record.CHAIN


def test_suppressed_context_is_left_out() -> None:
    """`raise … from None` says that what came before does not matter."""
    first, second = ValueError(1), ValueError(2)
    second.__context__ = first
    assert record.describe(second, None)["context"]["message"] == "1"

    second.__suppress_context__ = True

    assert record.describe(second, None)["context"] is None


def test_group_in_a_group() -> None:
    """Members of members are there, each once."""
    inner = ExceptionGroup("inner", [ValueError(1), ValueError(2)])
    outer = ExceptionGroup("outer", [inner, KeyError(3)])

    described = record.describe(outer, None)

    assert [member["type"] for member in described["exceptions"]] == ["ExceptionGroup", "KeyError"]
    assert [member["message"] for member in described["exceptions"][0]["exceptions"]] == ["1", "2"]


@pytest.mark.parametrize("limit", [layout.FATAL_SIZE - 4, layout.EVENT_SIZE - 4, 2000])
def test_fits_whatever_it_holds(limit: int) -> None:
    """Long messages, many frames, many threads and locals shrink until the record fits."""
    entry = entry_of(caught(ValueError("é" * 100000)), with_locals=True)
    frame = ("function" * 20, "/a/file" * 30, 1, "module", {"x" * 50: "y" * 200})
    entry["exception"]["frames"] = [(*frame[:2], number, *frame[3:]) for number in range(100)]
    entry["threads"] = [(number, "thread", [(*frame[:3], str(number), None)] * 100) for number in range(500)]

    payload = record.pack(entry, limit)

    assert 0 < len(payload) <= limit
    found = marshal.loads(payload)
    assert found["exception"]["type"] == "ValueError"
    assert found["exception"]["frames"]


def test_what_fits_is_whole() -> None:
    """A small record is not touched."""
    entry = entry_of(caught(ValueError("x")), with_locals=True)

    assert marshal.loads(record.pack(entry, layout.EVENT_SIZE - 4)) == entry


class Text(str):
    """A str that must not be trusted."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> str:
        raise RuntimeError


@pytest.mark.parametrize("value", [Text("abc"), "abc"])
def test_texts_are_exact(value: str) -> None:
    """marshal takes no subclass, and no subclass's own code runs."""
    assert type(record.text(value, 2)) is str
    assert record.text(value, 2) == "ab"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        ("it's", '"it\'s"'),
        (b"\0", r"b'\x00'"),
        ({1: 2}, "<dict of 1>"),
        (frozenset(), "<frozenset of 0>"),
        (Text("abc"), f"<{__name__}.Text>"),
        (type, "<builtins.type>"),
    ],
)
def test_safe_repr(value: object, expected: str) -> None:
    """Only exact built-in types are shown; everything else is named by its type."""
    assert record.safe_repr(value) == expected


class Hostile(Exception):
    """Every attribute of its own fails, by what would end a program."""

    __notes__ = property(lambda _: _leave())
    __class__ = property(lambda _: _leave())  # type: ignore[assignment]
    __traceback__ = property(lambda _: _leave())  # type: ignore[assignment]
    __cause__ = property(lambda _: _leave())  # type: ignore[assignment]
    __suppress_context__ = property(lambda _: _leave())  # type: ignore[assignment]

    def __str__(self) -> str:
        return _leave()


def _leave() -> Any:
    raise SystemExit(9)


def test_an_exceptions_own_code_neither_fails_nor_leaves() -> None:
    """What it raises when it is asked, SystemExit too, is not the end of its record."""
    outer = ValueError("outer")
    BaseException.__cause__.__set__(outer, Hostile("x"))  # type: ignore[attr-defined]

    described = record.describe(outer, None)["cause"]

    assert (described["type"], described["message"]) == ("Hostile", "<its __str__ raised SystemExit>")
    assert described["notes"] == []


def test_a_text_that_does_not_parse_has_its_compilers_frames() -> None:
    """Of a SyntaxError in what is no file the caller is told, unless there is none."""
    with pytest.raises(SyntaxError) as raised:
        compile("1 +", "<text>", "eval")

    inside = record.describe(raised.value, raised.value.__traceback__)
    alone = record.describe(raised.value, None)

    assert inside["frames"][0][1] == __file__
    assert [frame[:3] for frame in alone["frames"]] == [("<module>", "<text>", 1)]
