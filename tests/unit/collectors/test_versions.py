"""Outside tools are asked for their version before they are used."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from diag.collectors import austin_record, external, perf_record, pyspy


@pytest.mark.parametrize("module", [pyspy, austin_record, perf_record], ids=lambda module: module.__name__)
def test_a_tool_has_time_to_start(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start on a machine reads the tool from its disk: that is no reason to do without it."""
    limits = []

    def run(arguments: list[str], *, timeout_s: float, **more: object) -> external.Ran:
        limits.append(timeout_s)
        return external.Ran(0, b"tool 3.7.0\n", "")

    monkeypatch.setattr(external, "run", run)
    monkeypatch.setattr(module, "find", lambda: "/bin/tool")
    version: Callable[[], str] = module.version  # type: ignore[attr-defined]

    assert version() == "3.7.0"
    assert min(limits) >= 30
