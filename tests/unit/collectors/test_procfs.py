"""The parsers of /proc, with names that a hostile process chose."""

from __future__ import annotations

import pytest

from diag.collectors import procfs

FIELDS = "S 1 2 3 0 -1 4194304 10 0 11 0 12 13 0 0 20 0 1 0 4711 88461312"


@pytest.mark.parametrize(
    "name",
    ["python", "a b", ") S 99 (", "((", "))) ", "x\ny", "\x1b[31mred", "tab\tname"],
)
def test_stat_takes_any_name(name: str) -> None:
    """Brackets, spaces, newlines and escapes in a name do not move the fields after it."""
    found, fields = procfs.parse_stat(f"4242 ({name}) {FIELDS}\n".encode())

    assert found == name
    assert (fields[0], fields[1], fields[19]) == ("S", "1", "4711")


def test_stat_refuses_what_is_no_stat() -> None:
    """A line without the fields is refused, not misread."""
    for raw in (b"", b"12 (x", b"12 (x) S 1"):
        with pytest.raises(ValueError, match="stat"):
            procfs.parse_stat(raw)


def test_bytes_that_are_no_text_stay_visible() -> None:
    """A name that is not UTF-8 becomes an escape that any encoder takes."""
    name, _ = procfs.parse_stat(b"1 (\xff\xfe) " + FIELDS.encode())

    assert name == "\\xff\\xfe"
    assert name.encode("utf-8")


def test_status_name_cannot_forge_a_line() -> None:
    """The kernel escapes a newline in the name, so what follows it is no key of its own."""
    status = procfs.parse_status(
        "Name:\tx\\nUid:\\t0\nState:\tS (sleeping)\nUid:\t1000\t1000\t1000\t1000\nVmRSS:\t 12 kB\n"
    )

    assert status["Uid"].split()[0] == "1000"
    assert procfs.kib(status, "VmRSS") == 12288
    assert procfs.kib(status, "VmSwap") is None


def test_task_name_is_unescaped() -> None:
    """A task's name comes back as it was set, with its newline and its backslash."""
    raw = b"Name:\ta\\nb\\\\n\nUmask:\t0022\nState:\tD (disk sleep)\nTgid:\t1\n"
    raw += b"voluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n"

    assert procfs.parse_task(raw) == ("a\nb\\n", "D", 3, 4)


def test_limits_keep_names_and_infinity() -> None:
    """Each limit's soft and hard value under the kernel's name; unlimited is None."""
    text = (
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 unlimited            files     \n"
        "Max nice priority         0                    0                    \n"
    )

    assert procfs.parse_limits(text) == {"Max open files": (1024, None), "Max nice priority": (0, 0)}


def test_environment_keeps_only_variables() -> None:
    """Values may hold `=` and newlines; what is no assignment is left out."""
    raw = b"A=1\0B=x=y\nz\0no assignment\0EMPTY=\0"

    assert procfs.parse_environment(raw) == {"A": "1", "B": "x=y\nz", "EMPTY": ""}


def test_maps_keep_paths_whole() -> None:
    """A path with spaces, a form feed, and the kernel's mark of deletion is one path."""
    line = "7f00-7fff r-xp 00001000 08:01 77   /srv/my app/\x0clib.so (deleted)"
    (mapped,) = procfs.parse_maps(line + "\n")

    assert (mapped.start, mapped.end, mapped.offset, mapped.inode) == (0x7F00, 0x7FFF, 0x1000, 77)
    assert mapped.path == "/srv/my app/\x0clib.so (deleted)"
    assert procfs.parse_maps("00400000-00401000 rw-p 00000000 00:00 0 \n")[0].path == ""


def test_command_keeps_empty_arguments() -> None:
    """`prog "" x` has three words, a kernel thread none."""
    assert procfs.split_command(b"prog\0\0x\0") == ("prog", "", "x")
    assert procfs.split_command(b"\0") == ("",)
    assert procfs.split_command(b"") == ()
