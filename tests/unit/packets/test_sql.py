"""Shapes of statements: no value gets through, and what is asked can still be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.packets import sql


@pytest.mark.parametrize(
    ("statement", "shape"),
    [
        (b"SELECT * FROM t WHERE a = 'x' AND b = 12", "SELECT * FROM t WHERE a = ? AND b = ?"),
        (b"select 'it''s', 0x1F, 1.5e3 from t2", "select ?, … from t2"),
        (b"insert into t values (1, 'a'), (2, 'b'), (3, 'c')", "insert into t values (?, …), …"),
        (b"select a1, t.b2 /* secret */ from s3 -- more\n where c = $1", "select a1, t.b2 from s3 where c = $1"),
        (b"select $x$ any 'thing' $x$, 7", "select ?, …"),
        (b"select 'unfinished", "select ?"),
        (b"select 'a\\' or b = 'secret'", "select ?"),
        (b'select "Name" from "T"', 'select "Name" from "T"'),
    ],
)
def test_values_become_question_marks(statement: bytes, shape: str) -> None:
    """Strings, numbers, dollar quotes and comments go; names stay."""
    assert sql.shape(statement) == shape


def test_double_quotes_are_values_in_mysql() -> None:
    """There they quote strings."""
    assert sql.shape(b'select * from `t1` where a = "x"', mysql=True) == "select * from `t1` where a = ?"


def test_a_trace_in_a_comment_is_found() -> None:
    """sqlcommenter's traceparent links the statement."""
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

    link = sql.link_of(f"select 1 /*traceparent='00-{trace}-{span}-01'*/".encode())

    assert (link.trace_id, link.span_id) == (trace, span)


@given(st.binary(max_size=300), st.booleans())
def test_a_mask_keeps_the_length(statement: bytes, mysql: bool) -> None:
    """It replaces a statement in place."""
    assert len(sql.mask(statement, mysql=mysql)) == len(statement)


@given(st.text(alphabet="abc'\\ ,$\"`-/*", max_size=30), st.booleans())
def test_a_quoted_value_never_shows(before: str, mysql: bool) -> None:
    """A value in quotes does not show, where what stands before it is a whole statement without quotes."""
    start = "".join(one for one in before if one not in "'\"\\`$-/*")
    statement = f"select {start} 'zzz9zzz'".encode()

    assert "zzz9zzz" not in sql.shape(statement, mysql=mysql)
    assert b"zzz9zzz" not in sql.mask(statement, mysql=mysql)
