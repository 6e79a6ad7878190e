"""JSON from outside."""

from __future__ import annotations

import json

import pytest
from diag_server import hostile
from diag_server.errors import BadReport


def test_surrogates_and_nuls_become_harmless() -> None:
    """What neither a database nor a page can take is replaced, in keys too."""
    document = hostile.parse_json(b'{"a\\ud800": ["x\\u0000y", "\\ud83d\\ude00", 1]}')

    assert document == {"a\ufffd": ["x\ufffdy", "\U0001f600", 1]}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b"[" * 70 + b"]" * 70, b"1" * 100_000],
    ids=["empty", "cut", "binary", "nan", "deep", "nested", "huge number"],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Bytes that are no JSON, or JSON made to break its reader, raise BadReport and nothing else."""
    with pytest.raises(BadReport):
        hostile.parse_json(data)


@pytest.mark.parametrize("value", [None, 1, 1.5, True, "x", [], {}, [1], {"a": 1}])
def test_every_accessor_takes_every_value(value: object) -> None:
    """A value of the wrong type gives an empty or harmless one, never an error."""
    assert isinstance(hostile.mapping(value), dict)
    assert isinstance(hostile.items(value), list)
    assert all(isinstance(one, dict) for one in hostile.mappings(value))
    assert isinstance(hostile.text(value), str)
    assert hostile.whole(value) is None or type(hostile.whole(value)) is int
    assert all(isinstance(line, str) for line in hostile.lines(value))


def test_long_texts_say_how_much_is_cut() -> None:
    """A text over the limit is cut, and says so."""
    assert hostile.text("x" * 30, limit=10) == "x" * 10 + "… (20 more characters)"


def test_whole_reads_addresses() -> None:
    """Numbers written as hexadecimal text are numbers."""
    assert (hostile.whole("0x10"), hostile.whole("12"), hostile.whole("0xzz")) == (16, 12, None)


def test_plain_documents_are_not_changed() -> None:
    """A document without anything odd comes through as it is."""
    document = {"a": [1, 2.5, None, True, "ü"], "b": {"c": []}}

    assert hostile.parse_json(json.dumps(document).encode()) == document
