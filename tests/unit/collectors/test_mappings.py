"""What smaps says, by kind and name."""

from __future__ import annotations

from diag.collectors.mappings import grouped

ROWS = (
    "Size: {0} kB\nKernelPageSize: 4 kB\nRss: {0} kB\nPss: {1} kB\nPrivate_Dirty: 4 kB\nSwap: 0 kB\nVmFlags: rd wr mr\n"
)
LINES = (
    ("55d0-55d1 r-xp 00000000 08:01 42                         /usr/bin/a b: c (deleted)", 8),
    ("55d1-55d2 rw-p 00001000 08:01 42                         /usr/bin/a b: c (deleted)", 4),
    ("55e0-55e1 rw-p 00000000 00:00 0                          [heap]", 16),
    ("7f00-7f01 rw-p 00000000 00:00 0 ", 32),
    ("7f01-7f02 rw-p 00000000 00:00 0                          [anon: glibc: malloc arena]", 2),
    ("7f02-7f03 rw-s 00000000 00:01 7                          /dev/shm/Size: 9 kB", 64),
    ("7ffe-7fff rw-p 00000000 00:00 0                          [stack]", 12),
    ("ffff-ffff --xp 00000000 00:00 0                          [vsyscall]", 0),
)


def test_groups() -> None:
    """Pieces of one file are one row; hostile names stay names."""
    found = grouped("".join(f"{line}\n" + ROWS.format(size, size // 2) for line, size in LINES))

    assert {key: (row["mappings"], row["rss"] // 1024) for key, row in found.items()} == {
        ("file", "/usr/bin/a b: c (deleted)"): (2, 12),
        ("heap", "heap"): (1, 16),
        ("anonymous", "anonymous"): (1, 32),
        ("anonymous", "anon: glibc: malloc arena"): (1, 2),
        ("shared", "/dev/shm/Size: 9 kB"): (1, 64),
        ("stack", "stack"): (1, 12),
        ("kernel", "[vsyscall]"): (1, 0),
    }
    assert found["file", "/usr/bin/a b: c (deleted)"]["pss"] == 6 * 1024
