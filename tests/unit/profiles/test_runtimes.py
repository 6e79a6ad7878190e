"""What V8, memray, perf and py-spy's trace events say, read from files that are written by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from profiled import COUNT

from diag.errors import BadProfile
from diag.profiles import chrometrace, memray, perf_script, v8
from diag.profiles.model import Frame, Label, Mapping, SampleType


def node(number: int, name: str, *children: int, line: int = -1, ticks: list[tuple[int, int]] | None = None) -> Any:
    """A node of a CPU profile."""
    call = {"functionName": name, "url": "file:///srv/a.js" if line >= 0 else "", "lineNumber": line, "columnNumber": 4}
    hits = {"positionTicks": [{"line": at, "ticks": count} for at, count in ticks]} if ticks else {}
    return {"id": number, "callFrame": call, "children": list(children), **hits}


def cpu(nodes: list[Any], samples: list[int], deltas: list[int], **more: Any) -> bytes:
    """A CPU profile."""
    whole = {"nodes": nodes, "samples": samples, "timeDeltas": deltas, "startTime": 1000, "endTime": 1100}
    return json.dumps(whole | more).encode()


TREE = [
    node(1, "(root)", 2, 4, 5),
    node(2, "work", 3, line=9),
    node(3, "", line=19, ticks=[(21, 1), (22, 5)]),
    node(4, "(idle)"),
    node(5, "(garbage collector)"),
]


def test_a_cpu_profile_of_v8() -> None:
    """A sample lasts until the next; idle and GC are labels too; the line is the one that was hit most."""
    one = v8.read_cpu(cpu(TREE, [3, 4, 5, 2], [10, 20, 30, 5]))
    assert list(one.frames_of(0)) == [
        Frame("(anonymous)", "/srv/a.js", 22, start_line=20),
        Frame("work", "/srv/a.js", 10, 5, start_line=10),
    ]
    assert [one.label_sets[tags] for tags in one.labels_of] == [
        (),
        (Label("state", "idle"),),
        (Label("state", "gc"),),
        (),
    ]
    assert one.times is not None
    assert list(one.times) == [10_000, 30_000, 60_000, 65_000]
    assert list(one.values[1]) == [20_000, 30_000, 5_000, 35_000]
    assert one.duration_ns == 100_000


def test_time_that_runs_backwards_counts_as_none() -> None:
    """V8 writes negative deltas; no sample lasts less than nothing."""
    one = v8.read_cpu(cpu(TREE, [2, 2, 2], [10, -5, 20]))
    assert list(one.values[1]) == [0, 20_000, 75_000]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (cpu(TREE, [2], [1, 2]), "1 samples and 2 time deltas"),
        (cpu(TREE, [9], [1]), "9 is missing"),
        (cpu([node(1, "a", 2), node(2, "b", 1)], [1], [1]), "circle"),
        (b'{"nodes": [], "samples": [], "timeDeltas": []}', "'startTime' is missing"),
        (b"[]", "no valid CPU profile"),
    ],
)
def test_a_damaged_cpu_profile_says_what_is_wrong(content: bytes, says: str) -> None:
    """What is wrong with the file stands in the error."""
    with pytest.raises(BadProfile, match=says):
        v8.read_cpu(content)


def test_a_heap_profile_of_v8() -> None:
    """Bytes in use by where they were allocated; nodes that hold nothing are no sample."""
    inner = node(3, "make", line=4) | {"selfSize": 512, "children": []}
    outer = node(2, "main", line=0) | {"selfSize": 0, "children": [inner]}
    one = v8.read_heap(json.dumps({"head": node(1, "(root)") | {"selfSize": 0, "children": [outer]}}).encode())
    assert one.sample_types == (SampleType("inuse_space", "bytes"),)
    assert [frame.function for frame in one.frames_of(0)] == ["make", "main"]
    assert list(one.values[0]) == [512]


def test_a_heap_profile_may_be_deep() -> None:
    """Depth is refused by a limit of ours, not by the interpreter's."""
    deep = '{"callFrame":{"functionName":"f"},"selfSize":1,"children":[' * 400 + "]}" * 400
    assert len(v8.read_heap(f'{{"head":{deep}}}'.encode())) == 400


def test_a_table_of_memray() -> None:
    """Objects and bytes by allocator and thread; a C++ name may hold the signs that part the frames."""
    lines = [
        memray.HEADER,
        "MALLOC,2,1024,1,0x1,work;/srv/a.py;3|<module>;/srv/a.py;9",
        'MMAP,1,4096,2,"one, two","operator|;(int);a.cc;7|work;/srv/a.py;3"',
        "CALLOC,1,8,1,0x1,",
    ]
    one = memray.read("\r\n".join(lines).encode(), kind="alloc")
    assert one.sample_types == (SampleType("alloc_objects", "count"), SampleType("alloc_space", "bytes"))
    assert [list(column) for column in one.values] == [[2, 1, 1], [1024, 4096, 8]]
    assert list(one.frames_of(1)) == [Frame("operator|;(int)", "a.cc", 7), Frame("work", "/srv/a.py", 3)]
    assert list(one.frames_of(2)) == []
    assert one.label_sets[one.labels_of[1]] == (
        *(Label("allocator", "mmap"), Label("thread_id", 2)),
        Label("thread", "one, two"),
    )


@pytest.mark.parametrize("line", ["MALLOC,x,1,1,0x1,", "MALLOC,1", '"' + "MALLOC,1,1,1,a,"])
def test_a_damaged_table_of_memray_is_refused(line: str) -> None:
    """Rows that are no rows are told."""
    with pytest.raises(BadProfile, match="no valid table of memray"):
        memray.read(f"{memray.HEADER}\n{line}\n".encode())


PERF = """\
# captured on: today
my prog 70/71 [001]   560.775255:   10101010 cpu-clock:u:
\t          1b1b73 set_traverse+0x33 (/usr/lib/libpython3.11.so.1.0)
\t    7fad46b7c7b0 [unknown] ([unknown])
\t    7fad00001010 py::work:/srv/app.py (/tmp/perf-70.map)

my prog 70/72 [000]   560.785255:   10101010 cpu-clock:u:
\t    7f0000001004 [unknown] (/tmp/perf-70.map)
\t    ffffffff8100 do_syscall_64+0x8 ([kernel.kallsyms])

my prog 70/72 [000]   560.785300: PERF_RECORD_LOST lost 17
"""


def test_the_text_of_perf() -> None:
    """Events, moments, threads, addresses and files; lost events are counted."""
    one = perf_script.read(PERF.encode())
    assert one.sample_types == (COUNT, SampleType("cpu", "nanoseconds"))
    python = Mapping(file="/usr/lib/libpython3.11.so.1.0")
    assert list(one.frames_of(0)) == [
        Frame("set_traverse", address=0x1B1B73, mapping=python),
        Frame("", address=0x7FAD46B7C7B0),
        Frame("work", "/srv/app.py", address=0x7FAD00001010),
    ]
    assert one.label_sets[1] == (Label("pid", 70), Label("process", "my prog"), Label("thread_id", 71))
    assert one.times is not None
    assert (list(one.times), list(one.values[1])) == ([0, 10_000_000], [10101010, 10101010])
    assert one.recording.lost == 17


def test_what_perf_could_not_name_the_map_names() -> None:
    """Functions of V8 and CPython come from the process's perf map, where the address lies inside of one."""
    names = "7f0000001000 10 JS:*work file:///srv/a.js:12:3\n7f0000001010 10 other\nnonsense\n7f"
    one = perf_script.read(PERF.encode(), {70: names})
    assert next(one.frames_of(1)) == Frame("work", "/srv/a.js", 12, 3, address=0x7F0000001004)
    assert next(perf_script.read(PERF.encode(), {71: names}).frames_of(1)).function == ""
    past = perf_script.read(PERF.replace("7f0000001004", "7f0000001020").encode(), {70: names})
    assert next(past.frames_of(1)).function == ""


def test_each_event_of_perf_is_a_column() -> None:
    """Cycles and tracepoints of one recording stay apart."""
    text = "a 1 1.000001:  7 cycles: \n\t 10 f (x)\n\na 1 1.000002:  9 sched:sched_switch: \n\t 10 f (x)\n"
    one = perf_script.read(text.encode())
    assert [kind.name for kind in one.sample_types] == ["samples", "cycles", "sched:sched_switch"]
    assert [list(column) for column in one.values] == [[1, 1], [7, 0], [0, 9]]


def test_perf_without_call_graphs() -> None:
    """The only frame may stand on the line of the sample."""
    one = perf_script.read(b"a 1 1.5:  7 cycles:      5577 work+0x3 (/srv/a)\n")
    assert [frame.function for frame in one.frames_of(0)] == ["work"]


def test_text_that_is_not_perfs_says_where() -> None:
    """What is wrong with the file stands in the error."""
    with pytest.raises(BadProfile, match="Line 2 is neither"):
        perf_script.read(b"a 1 1.5:  7 cycles: \nhello\n")


def trace(*events: tuple[str, str, int]) -> bytes:
    """Trace events as py-spy writes them."""
    return json.dumps(
        [
            {"ph": phase, "name": name, "ts": ts, "pid": 7, "tid": 99, "args": {"filename": "a.py", "line": 3}}
            for phase, name, ts in events
        ]
    ).encode()


def test_trace_events_have_moments() -> None:
    """Each stretch with one stack is a sample; the frame that names the thread is a label and no frame."""
    one = chrometrace.read(
        trace(
            *[("B", "thread (8): main", 100), ("B", "work", 100), ("B", "inner", 110)],
            *[("E", "inner", 130), ("E", "work", 135), ("E", "thread (8): main", 135)],
        )
    )
    assert [[frame.function for frame in one.frames_of(index)] for index in range(3)] == [
        ["work"],
        ["inner", "work"],
        ["work"],
    ]
    assert one.times is not None
    assert (list(one.times), list(one.values[0])) == ([0, 10_000, 30_000], [10_000, 20_000, 5_000])
    assert one.label_sets[one.labels_of[0]] == (Label("pid", 7), Label("thread_id", 8), Label("thread", "main"))


def test_a_thread_may_be_named_by_an_event() -> None:
    """Other tools name threads in an event of their own."""
    named = {"ph": "M", "name": "thread_name", "pid": 1, "tid": 2, "args": {"name": "io"}}
    begin, end = ({"ph": phase, "name": "f", "ts": ts, "pid": 1, "tid": 2} for phase, ts in (("B", 1), ("E", 2)))
    one = chrometrace.read(json.dumps({"traceEvents": [named, begin, end]}).encode())
    assert Label("thread", "io") in one.label_sets[one.labels_of[0]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (trace(("E", "f", 1)), "not entered"),
        (trace(("B", "f", 5), ("E", "f", 1)), "Time goes back"),
        (b'[{"ph": "B"}]', "'ts' is missing"),
        (b"{}", "'traceEvents' is missing"),
        (b"[5]", "no valid file of trace events"),
    ],
)
def test_damaged_trace_events_say_what_is_wrong(content: bytes, says: str) -> None:
    """What is wrong with the file stands in the error."""
    with pytest.raises(BadProfile, match=says):
        chrometrace.read(content)
