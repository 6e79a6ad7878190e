"""A core file as evidence, and the report that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from core_files import AARCH64, CODE, STACK, Made
from reports import validate

from diag.capture import cores
from diag.config import Settings
from diag.redact import Redactor
from diag.report.assemble import assemble

STACK_POINTER = {"rip": CODE + 0x19C, "rsp": STACK - 0x100}


def report_of(made: Made, folder: Path) -> dict[str, Any]:
    """The report of this core."""
    evidence = cores.evidence_of(made.write(folder / "core"), None, Settings())
    return validate(assemble(evidence, Redactor()))


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (Made(), "null-dereference"),
        (Made(address=0x7123456789), "wild-pointer"),
        (Made(code=0x80), "wild-pointer"),
        (Made(address=STACK - 0x100, registers=STACK_POINTER), "stack-overflow"),
        (Made(code=0, sender=(812, 1000)), "sent-signal"),
        (Made(signal=7, code=1), "misaligned"),
        (Made(signal=8, code=7), "floating-point"),
        (Made(signal=4, code=2), "illegal-instruction"),
        (Made(signal=31, code=1), "signal"),
    ],
)
def test_the_cause_comes_from_what_the_kernel_noted(made: Made, cause: str, tmp_path: Path) -> None:
    """Signal number, code and address of a core lead to the verdict that the signal frame would have led to."""
    report = report_of(made, tmp_path)

    assert report["verdict"]["cause"] == cause
    assert (report["level"], report["trigger"]) == ("NATIVE", "signal")
    assert [thread["threadId"] for thread in report["threads"]] == [4711, 4712]
    assert [thread["crashed"] for thread in report["threads"]] == [True, False]


def test_no_secret_of_a_core_is_in_its_report(tmp_path: Path) -> None:
    """Arguments and environment of a core are redacted like those of a live process."""
    report = report_of(Made(), tmp_path)

    assert "hunter2-planted" not in str(report)
    assert report["environmentVariables"]["LANG"] == "C"
    assert report["header"]["commandLine"][0] == "./shop"


def test_who_sent_the_signal_is_evidence(tmp_path: Path) -> None:
    """The pid and user that a core names as the sender stand in the report."""
    report = report_of(Made(code=0, sender=(812, 1000)), tmp_path)

    assert any("pid 812 of uid 1000" in sentence for sentence in report["exit"]["evidence"])


def test_a_core_of_another_machine_is_partial(tmp_path: Path) -> None:
    """Of an aarch64 core there is a record, which says what is not in it."""
    report = report_of(Made(machine=AARCH64), tmp_path)

    assert report["exit"]["signal"] == "SIGSEGV"
    assert any("aarch64" in gap["reason"] for gap in report["incomplete"])


def test_a_core_without_threads_is_a_record_of_an_unknown_end(tmp_path: Path) -> None:
    """What was cut off before its first thread still is a crash, and says that how is not known."""
    path = tmp_path / "core"
    path.write_bytes(Made().content()[:300])

    report = validate(assemble(cores.evidence_of(path, None, Settings()), Redactor()))

    assert (report["verdict"]["cause"], report["level"]) == ("unknown", "OUTSIDE")
    assert {"core", "signal"} <= {gap["section"] for gap in report["incomplete"]}


def test_a_copy_of_a_living_process_is_no_crash(tmp_path: Path) -> None:
    """gcore notes no signal: its file is a report of a process that lived."""
    evidence = cores.evidence_of(Made(signal=0).write(tmp_path / "core"), None, Settings())

    assert (cores.kind_of(evidence), evidence.level) == ("report", None)
    validate(assemble(evidence, Redactor()))
