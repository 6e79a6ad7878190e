"""Stacks as a page shows them."""

from __future__ import annotations

from typing import Any

from diag_server import stacks


def frame(function: str, in_app: bool = False, **more: Any) -> dict[str, Any]:
    return {"function": function, "file": f"/venv/site-packages/{function}/x.py", "line": 1, "inApp": in_app, **more}


def shape(value: list[dict[str, Any]]) -> list[tuple[bool, str]]:
    runs = stacks.runs(stacks.frames(value))
    return [(run.folded, "".join(one.function for one in run.frames)) for run in runs]


def test_long_library_runs_fold_between_own_frames() -> None:
    """The innermost frames and the application's stay open; four library frames or more between them fold."""
    library = [frame(name) for name in "abcdefghij"]

    assert shape([*library, frame("M", True), *library[:3], frame("N", True), *library[:4]]) == [
        (False, "abcd"),
        (True, "efghij"),
        (False, "MabcN"),
        (True, "abcd"),
    ]


def test_a_stack_without_own_frames_stays_open() -> None:
    """Where nothing is the application's, the stack itself is what there is to read."""
    assert shape([frame(name) for name in "abcdefgh"]) == [(False, "abcdefgh")]


def test_no_frames_make_no_runs() -> None:
    """An empty stack shows no empty box."""
    assert shape([]) == []


def test_every_frame_is_shown_once_and_in_order() -> None:
    """Folding loses and repeats nothing."""
    value = [frame(f"f{n}", in_app=n % 7 == 0) for n in range(60)]

    runs = stacks.runs(stacks.frames(value))

    assert [one.number for run in runs for one in run.frames] == list(range(60))


def test_folded_frames_name_their_packages() -> None:
    """The line that stands for folded frames says whose they are, each package once."""
    library = [frame(name) for name in ("flask", "flask", "werkzeug", "gunicorn")]

    runs = stacks.runs(stacks.frames([frame("M", True)] * 4 + library))

    assert [run.owners for run in runs if run.folded] == ["flask, werkzeug, gunicorn"]


def test_places_leave_out_where_python_is_installed() -> None:
    """A library's path starts at its package, the application's is whole."""
    library, own = stacks.frames([frame("flask"), {**frame("view", True), "file": "/srv/shop/app.py", "line": 7}])

    assert (library.shown_place, own.shown_place) == ("flask/x.py:1", "/srv/shop/app.py:7")


def test_crashed_threads_come_first() -> None:
    """The thread that died leads, wherever the report has it."""
    found = stacks.threads({"threads": [{"threadId": 1}, {"threadId": 2, "crashed": True, "frames": [frame("x")]}]})

    assert [(one.thread_id, one.crashed) for one in found] == [("2", True), ("1", False)]


def test_chains_and_groups_are_walked_in_the_order_they_are_read() -> None:
    """Members of a group come before what caused the group, each with its relation; endless chains are cut."""
    leaf = {"type": "KeyError", "module": "builtins", "message": "'a'", "frames": []}
    top = {
        "type": "Group",
        "module": "app",
        "exceptions": [leaf, {**leaf, "type": "OSError"}],
        "cause": {**leaf, "type": "Cause"},
    }

    found = stacks.raised({"exception": top})

    assert [(one.relation, one.type) for one in found] == [
        ("", "app.Group"),
        ("one of the group", "KeyError"),
        ("one of the group", "OSError"),
        ("caused by", "Cause"),
    ]


def test_anything_may_stand_where_frames_should() -> None:
    """A report that lies about its shape shows as empty, never as an error."""
    for value in (None, 1, "x", [1, None], {"frames": 3}, [{"frames": "x", "crashed": "yes"}]):
        assert all(not thread.crashed for thread in stacks.threads({"threads": value}))
        assert stacks.raised({"exception": value}) == [] or isinstance(value, dict)


def test_the_main_thread_leads_where_none_crashed() -> None:
    """In a report of a living process the main thread is read first."""
    found = stacks.threads({"header": {"processId": 7}, "threads": [{"threadId": 9}, {"threadId": 7}, {"threadId": 8}]})

    assert [one.thread_id for one in found] == ["7", "9", "8"]
