"""The reader of marshalled records, which trusts nothing."""

from __future__ import annotations

import contextlib
import marshal
import random
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import VERSIONS, python

from diag.collectors.unmarshal import Torn, loads

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_what_marshal_writes_is_read_back(value: Any) -> None:
    """Every plain value comes back as it was packed."""
    assert loads(marshal.dumps(value, 4)) == value


@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_writes_the_same(version: str) -> None:
    """Records of every CPython that the probe runs on are read, shared strings and big numbers too."""
    script = (
        "import marshal, sys; s = 'shared-' + str(1); sys.stdout.buffer.write(marshal.dumps("
        "{'a': (s, [s, s], 2**70, -5, 1.5, None, True, b'x', 'é', 'x' * 300), s: {}}, 4))"
    )
    packed = subprocess.run([python(version), "-c", script], capture_output=True, check=True).stdout

    shared = "shared-1"
    wanted = (shared, [shared, shared], 2**70, -5, 1.5, None, True, b"x", "é", "x" * 300)
    assert loads(packed) == {"a": wanted, shared: {}}


@given(PLAIN, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_torn_bytes_are_torn_and_nothing_worse(value: Any, chance: random.Random) -> None:
    """Cut or changed anywhere, a record gives another plain value or Torn, and never another error."""
    packed = bytearray(marshal.dumps(value, 4))
    for _ in range(3):
        packed[chance.randrange(len(packed))] = chance.randrange(256)
    for torn in (bytes(packed), bytes(packed[: chance.randrange(len(packed) + 1)])):
        with contextlib.suppress(Torn):
            loads(torn)


@pytest.mark.parametrize("hostile", [b"", b"(\xff\xff\xff\xff", b")\x01" * 100_000, b"r\x00\x00\x00\x00", b"c", b"{["])
def test_hostile_bytes_cost_nothing(hostile: bytes) -> None:
    """Huge counts, endless nesting, references to nothing and code objects are refused."""
    with pytest.raises(Torn):
        loads(hostile)
