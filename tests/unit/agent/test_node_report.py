"""What is made of the file that Node leaves, and of files that it did not leave so."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from machine import missing

from diag.agent import node_options, node_report

PID = 4711
WHOLE = {
    "header": {"reportVersion": 1, "event": "Exception", "trigger": "Exception", "processId": PID, "threadId": 0},
    "javascriptStack": {"message": "TypeError: no", "stack": ["at pay (/app/a.js:3:9)", "at net.js:7:1"]},
    "javascriptHeap": {"usedMemory": 1},
    "nativeStack": [{"pc": "0x0000000000000001", "symbol": "abort [node]"}],
}


def _written(folder: Path, content: str | bytes) -> Path:
    path = folder / node_options.REPORT_NAME
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_report_of_the_first_version_has_its_exception(tmp_path: Path) -> None:
    """Type, message and frames, with Node's own modules named as later versions name them."""
    seen = node_report.read(_written(tmp_path, json.dumps(WHOLE)), PID)

    assert seen is not None
    assert seen.exception is not None
    assert (seen.exception.type, seen.exception.message) == ("TypeError", "no")
    assert [(f.function, f.file, f.line) for f in seen.exception.frames] == [
        ("pay", "/app/a.js", 3),
        ("<anonymous>", "node:net", 7),
    ]
    assert seen.missing == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        json.dumps(WHOLE).encode()[:-40],
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'"report"',
        b'{"header": []}',
        b'{"header": {"x": ' + b"9" * 5000 + b"}}",
    ],
    ids=["empty", "cut off", "deep", "binary", "a list", "a text", "no header", "a number without end"],
)
def test_what_is_no_report_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    """Nothing of it is used, and the record says so."""
    seen = node_report.read(_written(tmp_path, content), PID)

    assert seen is not None
    assert [gap.section for gap in seen.missing] == ["node"]
    assert (seen.trigger, seen.exception, seen.frames) == ("", None, ())


def test_files_that_are_no_report_are_not_read(tmp_path: Path) -> None:
    """A file of 100 MB, a FIFO and a symlink cost nothing."""
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(100 << 20)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(_written(tmp_path, json.dumps(WHOLE)))

    for name in ("large", "fifo", "link"):
        seen = node_report.read(tmp_path / name, PID)
        assert seen is not None
        assert [gap.section for gap in seen.missing] == ["node"]


@pytest.mark.parametrize(
    "values",
    [
        {"javascriptStack": 7, "javascriptHeap": [], "nativeStack": {"a": 1}},
        {"javascriptStack": {"message": {}, "stack": [None, 3, ["at x"], "at " + "(" * 50_000]}},
        {"nativeStack": [None, 7, {"symbol": ["[" * 50_000]}, {}], "libuv": 5, "workers": "many"},
    ],
    ids=["other kinds", "an odd stack", "odd frames"],
)
def test_hostile_values_leave_a_partial_report(tmp_path: Path, values: dict[str, object]) -> None:
    """What has the wrong shape is missing, and all else is there."""
    seen = node_report.read(_written(tmp_path, json.dumps(WHOLE | values)), PID)

    assert seen is not None
    assert seen.trigger == "Exception"


@pytest.mark.parametrize("header", [{"threadId": 2}, {"trigger": "API"}, {"processId": 1, "trigger": "API"}])
def test_a_report_of_another_end_is_not_taken(tmp_path: Path, header: dict[str, object]) -> None:
    """A worker thread's, or one that the program asked for."""
    written = WHOLE | {"header": {**WHOLE["header"], **header}}

    assert node_report.read(_written(tmp_path, json.dumps(written)), PID) is None
    assert node_report.read(tmp_path / "none", PID) is None


def test_a_childs_report_is_told_and_not_taken(tmp_path: Path) -> None:
    """Its parent may have ended of that, or not."""
    written = WHOLE | {"header": {**WHOLE["header"], "processId": 1, "dumpEventTime": "2026-03-04T05:06:07Z"}}

    seen = node_report.read(_written(tmp_path, json.dumps(written)), PID)

    assert seen is not None
    assert seen.of_child == "Node's report of pid 1 of this instance, of 2026-03-04T05:06:07Z: TypeError: no"
    assert (seen.trigger, seen.exception, seen.frames) == ("", None, ())


def test_only_the_last_abort_on_stderr_counts() -> None:
    """Its JavaScript frames, innermost first."""
    said = "----- JavaScript stack trace -----\n\n1: old (/app/a.js:1:1)\n\n\n"
    said += "----- JavaScript stack trace -----\n\n1: pay (/app/a.js:2:9)\n2: /app/a.js:5:1\n\n\n"

    seen = node_report.aborting(said)

    assert seen is not None
    assert [(f.function, f.line) for f in seen.frames] == [("pay", 2), ("<anonymous>", 5)]
    assert node_report.aborting("1: pay (/app/a.js:2:9)\n") is None
    assert node_report.aborting(None) is None


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_the_lines_about_the_report_are_taken_out_of_stderr(size: int) -> None:
    """These, however they are cut into writes after their first words, and nothing else."""
    report = Path("/run/x/node.json")
    head, rest = b"\nWriting Node.js report to file: ", b"%s\nNode.js report completed\n" % str(report).encode()
    other = b"\nWriting Node.js report to file: /run/x/node.json.own\nNode.js report completed\n"
    lines, passed = node_options.ReportLines(report), b""

    pieces = [rest[at : at + size] for at in range(0, len(rest), size)]
    for piece in [b"before\n", head, *pieces, b"between\n", other, head, b"/run/x/no"]:
        passed += lines.without(piece)

    assert passed + lines.rest() == b"before\nbetween\n" + other + head + b"/run/x/no"


def _node() -> str:
    return shutil.which("node") or missing("Node is not installed: make .stamps/apt-test")


def _options(command: list[str], **environment: str) -> str:
    environ = {"PATH": os.environ["PATH"], **environment}
    node_options.inject(command, environ, Path('/run/a "b'))
    return environ.get("NODE_OPTIONS", "")


def test_node_takes_the_options_as_they_are_meant(tmp_path: Path) -> None:
    """A folder with spaces and quotes in its name, before options of the user's own, which are in force."""
    script = tmp_path / "tool"
    script.write_text("#!/usr/bin/env node\n")
    script.chmod(0o755)
    for command in ([_node(), "app.js"], ["node"], [str(script)]):
        options = _options(command, NODE_OPTIONS="--max-old-space-size=99")
        ask = "console.log(process.report.filename, process.report.reportOnUncaughtException, "
        ask += "process.report.reportOnFatalError, require('v8').getHeapStatistics().heap_size_limit >> 20)"
        environ = {**os.environ, "NODE_OPTIONS": options}
        said = subprocess.run([_node(), "-e", ask], env=environ, capture_output=True, text=True, check=True).stdout
        *told, limit = said.rsplit(maxsplit=3)
        assert told == ['/run/a "b/node.json', "true", "true"]
        assert 99 <= int(limit) < 300


@pytest.mark.parametrize(
    ("command", "theirs"),
    [
        (["python3", "node"], ""),
        (["no-such-command"], ""),
        (["node", "--report-directory=/mine", "app.js"], ""),
        (["node", "app.js"], "--report-uncaught-exception"),
        (["node", "app.js"], "--trace-warnings --no-report-on-fatalerror"),
    ],
)
def test_other_programs_and_own_options_for_reports_are_left_alone(command: list[str], theirs: str) -> None:
    """NODE_OPTIONS is what it was."""
    _node()

    assert _options(command, NODE_OPTIONS=theirs) == theirs


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("v10.24.1", None),
        ("v12.16.3", True),
        ("v12.17.0", False),
        ("v13.11.0", True),
        ("v24.1.0", False),
        ("2.1", None),
    ],
)
def test_each_version_gets_what_it_accepts(tmp_path: Path, version: str, wanted: bool | None) -> None:
    """Nothing before 12, and where reports were an experiment the option that allows them; what asks is a program."""
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho {version}\n")
    node.chmod(0o755)

    options = _options([str(node)])

    assert bool(options) == (wanted is not None)
    assert ("--experimental-report" in options) == bool(wanted)


def test_what_the_program_asked_for_is_given_to_it(tmp_path: Path) -> None:
    """A report by `process.report.writeReport()` lands in the working directory, and replaces nothing there."""
    ours, theirs = tmp_path / "node.json", tmp_path / "app"
    theirs.mkdir()
    ours.write_text('{"header": {"trigger": "API"}}')

    for _ in range(2):
        node_report.hand_over(ours, 77, str(theirs))
    node_report.hand_over(ours, 77, str(tmp_path / "gone"))
    node_report.hand_over(tmp_path / "absent.json", 77, str(theirs))

    (handed,) = theirs.iterdir()
    assert handed.read_text() == ours.read_text()
    assert re.fullmatch(r"report\.\d{8}\.\d{6}\.77\.0\.001\.json", handed.name)


# doc/api/report.md, "Report version": what came with each, and what each wrote otherwise.
VERSIONS: dict[int, dict[str, object]] = {
    1: {
        "header": {"nodejsVersion": "v12.4.0", "processId": PID, "dumpEventTimeStamp": "1", "osMachine": "x86_64"},
        "javascriptHeap": {"usedMemory": 3, "heapSpaces": {"new_space": {"memorySize": "524288", "used": "1"}}},
        "resourceUsage": {"userCpuSeconds": 0.06, "maxRss": "33226752"},
    },
    2: {"header": {"nodejsVersion": "v14.21.3", "processId": PID, "threadId": 0}, "workers": [{"header": {}}]},
    3: {
        "header": {"nodejsVersion": "v18.13.0", "processId": PID, "threadId": None},
        "resourceUsage": {"free_memory": "1", "rss": "2", "total_memory": "3", "available_memory": "4"},
    },
    4: {
        "header": {"nodejsVersion": "v23.3.0", "processId": PID, "threadId": 0},
        "libuv": [{"type": "tcp", "localEndpoint": {"ip4": "127.0.0.1", "port": 80}, "remoteEndpoint": None}],
    },
    5: {
        "header": {"nodejsVersion": "v23.5.0", "processId": PID, "threadId": 0, "networkInterfaces": []},
        "userLimits": {"data_seg_size_bytes": {"soft": "unlimited", "hard": "unlimited"}},
    },
}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_a_living_node_is_read(version: int) -> None:
    """What getReport() gives in each of its versions has its heap and version, and lacks nothing that is there."""
    told = {**WHOLE, "libuv": [], "workers": [], **VERSIONS[version]}
    told["header"] = {"reportVersion": version, "event": "JavaScript API", "trigger": "GetReport", **told["header"]}

    seen = node_report.of_living(json.dumps(told), PID)

    assert (seen.report_version, seen.trigger, seen.missing) == (version, "GetReport", ())
    assert f"v{seen.version}" == told["header"]["nodejsVersion"]
    assert (dict(seen.heap), list(seen.libuv)) == (told["javascriptHeap"], told["libuv"])
    assert seen.workers == len(told["workers"])
    assert seen.exception is None


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_a_death_is_read(version: int, tmp_path: Path) -> None:
    """What Node writes as it dies has its exception in each version."""
    told = {**WHOLE, **VERSIONS[version]}
    told["header"] = {**WHOLE["header"], **told["header"], "reportVersion": version}

    seen = node_report.read(_written(tmp_path, json.dumps(told)), PID)

    assert seen is not None and seen.exception is not None
    assert (seen.report_version, seen.exception.message, seen.missing) == (version, "no", ())


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 100_000, '{"header": 3}', '{"header": {}}'])
def test_what_a_living_node_says_wrongly_is_no_report(text: str) -> None:
    """Whatever comes back instead of a report leaves a sentence, and nothing else."""
    seen = node_report.of_living(text, PID)

    assert seen.trigger == "" and len(seen.missing) == 1
