"""The guard's memory of stderr."""

from __future__ import annotations

import pytest

from diag.agent.guard import TAIL_SIZE, StderrTail


@pytest.mark.parametrize("sizes", [(10,), (TAIL_SIZE,), (TAIL_SIZE - 3, 10), (3 * TAIL_SIZE + 7,), (1000,) * 200])
def test_the_tail_is_the_end_of_what_was_written(sizes: tuple[int, ...]) -> None:
    """However it is cut into writes, the tail is the end of the stream, from the start of a line."""
    tail, stream = StderrTail(), b""
    for size in sizes:
        piece = (b"line %07d\n" * (size // 13 + 1))[:size]
        piece = piece.replace(b"%07d", b"%07d" % len(stream))
        tail.append(piece)
        stream += piece

    text = tail.text().encode()

    assert stream.endswith(text)
    assert len(text) == len(stream) if len(stream) <= TAIL_SIZE else TAIL_SIZE - 20 < len(text) <= TAIL_SIZE
