"""`diag diff` and `diag show` on profiles: captures in the store, and files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import captured
import deaths
import pytest
from unit.report.factory import crashed, made, raised

from diag import config
from diag.model import now
from diag.profiles import formats

Diag = Callable[..., subprocess.CompletedProcess[str]]


def stored(one: deaths.Made) -> deaths.Made:
    """The capture in the store that `diag` reads without settings."""
    return deaths.write(one, Path(config.load().store_url.removeprefix("file://")))


def test_two_captures_of_profiles(diag: Diag) -> None:
    """What changed most stands first, with its sign, by itself and with what it calls."""
    before, after = stored(captured.made(captured.shop("req-cart-2"))), stored(captured.made(captured.shop()))

    answer = diag("diff", before.id, after.id)

    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert lines[1] == "BY ITSELF, shares of cpu"
    assert lines[3].split()[0].startswith("-") and "render" in lines[3]
    assert any(line.lstrip().startswith("+") and "checkout" in line for line in lines)


@pytest.mark.parametrize("form", sorted(formats.WRITERS.keys() & formats.READERS.keys()))
def test_two_files_in_any_format(diag: Diag, tmp_path: Path, form: str) -> None:
    """Files that other tools wrote are compared as they are."""
    paths = [tmp_path / f"{name}{formats.SUFFIXES[form]}" for name in ("a", "b")]
    for path, slow in zip(paths, captured.REQUESTS, strict=False):
        path.write_bytes(formats.write(captured.shop(slow), form))

    answer = json.loads(diag("diff", *map(str, paths), "--json").stdout)

    rows = {row["key"]["name"]: row for row in answer["functions"]}
    assert rows["render"]["own"] > 0.2 and rows["total"]["own"] < -0.1
    assert rows["render"]["own_after"] - rows["render"]["own_before"] == rows["render"]["own"]


def test_the_same_profile_has_no_difference(diag: Diag) -> None:
    """It says so, in one line."""
    one = stored(captured.made(captured.shop()))

    assert diag("diff", one.id, one.id).stdout == "Nothing changed: every function has the same share in both.\n"


def test_two_reports(diag: Diag, tmp_path: Path) -> None:
    """A crash and a file with an exception: section by section, the verdict first."""
    crash = stored(deaths.made(deaths.segfault()))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(made(raised())))

    answer = diag("diff", str(path), crash.id)
    found = json.loads(diag("diff", str(path), crash.id, "--json").stdout)["differences"]

    assert (answer.returncode, answer.stderr) == (0, "")
    headings = [line for line in answer.stdout.splitlines() if line.isupper() and " " not in line.strip()]
    assert headings[:2] == ["VERDICT", "EXCEPTION"]
    assert {"section": "Signal", "name": "name", "before": None, "after": "SIGSEGV", "weight": 1.0} in found


def test_a_crash_alone_is_compared_with_when_it_was_well(diag: Diag) -> None:
    """The newest healthy report before it of the same instance counts; without one the answer says how to take one."""
    moment = now()
    crash = stored(deaths.made(deaths.segfault()))
    refused = diag("diff", crash.id)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "diag report shop" in refused.stderr
    stored(deaths.made(deaths.live(moment - timedelta(hours=2))))
    healthy = stored(deaths.made(deaths.live(moment - timedelta(hours=1))))
    stored(deaths.made(deaths.live(moment + timedelta(hours=1))))

    answer = diag("diff", crash.id)
    told = json.loads(diag("diff", crash.id, "--json").stdout)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert healthy.id in answer.stdout.splitlines()[0] and " before:" in answer.stdout
    assert told["healthy"]["capture_id"] == healthy.id
    assert told["changes"]
    assert diag("diff", healthy.id).returncode == 2


def test_what_cannot_be_compared(diag: Diag, tmp_path: Path) -> None:
    """A profile and a report, something else, and a missing file: one sentence each, with its exit code."""
    profile, report, text = tmp_path / "p.pb.gz", tmp_path / "r.json", tmp_path / "notes.txt"
    profile.write_bytes(formats.write(captured.shop(), "pprof"))
    report.write_text(json.dumps(made(crashed(11))))
    text.write_text("hello\n\0")

    mixed, odd, missing = (diag("diff", str(profile), str(other)) for other in (report, text, tmp_path / "none.pb"))

    assert (mixed.returncode, odd.returncode, missing.returncode) == (2, 1, 1)
    assert f"{profile} is a profile, and {report} is a report." in mixed.stderr
    assert f"diag: {text}: " in odd.stderr
    assert "cannot be read: No such file" in missing.stderr
    assert mixed.stdout + odd.stdout + missing.stdout == ""


def test_a_profile_is_shown_as_tables(diag: Diag) -> None:
    """The answer first, then functions, modules, threads and requests; `--json` prints the summary as it is kept."""
    one = stored(captured.made(captured.shop()))

    answer = diag("show", one.id)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[1] == "  27.6 % in price (app.py) itself"
    for words in ("HOTTEST BY ITSELF", "MODULES", "THREADS", "req-checkout-1", "3 samples lost, 2 invalid"):
        assert words in answer.stdout
    assert json.loads(diag("show", one.id, "--json").stdout) == json.loads(one.files["summary.json"])


@pytest.mark.parametrize(
    "summary",
    [b"[]", b"{", b"{}", b'{"facts": 7}', b'{"facts": {}, "recording": {}}', b'{"facts": null, "by_self": 1}'],
)
def test_a_bad_summary_is_refused(diag: Diag, summary: bytes) -> None:
    """One sentence says why, and nothing else is printed but what was read until then."""
    one = stored(captured.with_files(captured.made(captured.shop()), {"summary.json": summary}))

    answer = diag("show", one.id)

    assert answer.returncode == 1
    assert answer.stderr.startswith("diag: summary.json of ")
    assert "Traceback" not in answer.stderr


def test_control_characters_do_not_reach_the_terminal(diag: Diag) -> None:
    """A name that holds escapes is made visible, by show and by diff."""
    summary = captured.made(captured.shop()).files["summary.json"].replace(b'"checkout"', b'"evil\\u001b[31m"')
    one = stored(captured.with_files(captured.made(captured.shop()), {"summary.json": summary}))

    assert "\x1b" not in diag("show", one.id).stdout
