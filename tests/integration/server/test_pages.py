"""Pages: the answer first, everything linked, nothing uploaded ever rendered."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import deaths
import pytest
from viewers import Running, running

from diag.model import Link, new_capture_id, now

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"


def hostile_report(made: deaths.Made) -> deaths.Made:
    """The capture with markup in every text of its report and manifest."""

    def poison(value: Any) -> Any:
        if isinstance(value, str):
            return value + HOSTILE
        if isinstance(value, list):
            return [poison(item) for item in value]
        if isinstance(value, dict):
            return {key + HOSTILE: poison(item) for key, item in value.items()} | value
        return value

    report = json.loads(next(iter(made.files.values())))
    poisoned = {name: poison(value) for name, value in report.items()}
    frame = dict.fromkeys(("function", "file", "module", "address", "buildId"), HOSTILE)
    for thread in poisoned["threads"]:
        thread["frames"] = [{**frame, "line": 1, "inApp": True, "locals": {HOSTILE: HOSTILE}}]
    poisoned["requests"] = [dict.fromkeys(("request_id", "trace_id", "method", "path", "started"), HOSTILE)]
    poisoned["exception"] = {"type": HOSTILE, "module": HOSTILE, "message": HOSTILE, "frames": []}
    poisoned["verdict"] = {"cause": HOSTILE, "sentence": HOSTILE, "confidence": HOSTILE, "evidence": [HOSTILE]}
    poisoned["stderrTail"] = HOSTILE
    poisoned["environmentVariables"] = {HOSTILE: HOSTILE}
    return deaths.with_report(made, json.dumps(poisoned).encode()).with_manifest(
        title=HOSTILE,
        fingerprint="1:" + HOSTILE,
        verdict={"cause": HOSTILE, "sentence": HOSTILE},
        links=(Link(HOSTILE, HOSTILE, HOSTILE),),
        instance=deaths.instance(
            name=HOSTILE, service=HOSTILE, host=HOSTILE, runtime=HOSTILE, labels={HOSTILE: HOSTILE}
        ),
    )


def test_nothing_uploaded_is_rendered(viewer: Running) -> None:
    """Markup in any text of a report or manifest reaches every page as text."""
    made = hostile_report(deaths.made(deaths.segfault()))
    assert viewer.deliver(made) == [201, 201]
    instance = viewer.get("api/v1/instances").json()["instances"][0]["instance_id"]

    named = (f"groups/1:{HOSTILE}", f"instances/{instance}", f"requests/{HOSTILE}", f"traces/{HOSTILE}")
    for path in ("", "instances", "fragments/overview", f"captures/{made.id}", *map(quote, named)):
        answer = viewer.get(path)
        assert answer.status_code == 200 and "alert(" in answer.text, path
        assert "<script>alert" not in answer.text and "<img src=x" not in answer.text, path


def test_an_empty_viewer_says_what_to_do(viewer: Running) -> None:
    """Where nothing was caught, the page says how to catch something."""
    answer = viewer.get("")

    assert answer.status_code == 200
    assert "diag run -- " in answer.text and "diag report" in answer.text


def test_the_overview_names_what_died(viewer: Running) -> None:
    """Groups with counts, and the newest captures with their requests."""
    for n in range(3):
        viewer.deliver(deaths.made(deaths.segfault(f"req-{n}")))

    text = viewer.get("").text

    assert "SIGSEGV in price_of" in text
    assert "<strong>3</strong>" in text
    assert all(f"/requests/req-{n}" in text for n in range(3))


@pytest.mark.parametrize(
    ("query", "shown"),
    [("q=price_of", True), ("q=nowhere", False), ("request=req-a", True), ("kind=event", False), ("since=1h", True),
     ("instance=shop", True), ("level=FULL", False), (f"trace={deaths.TRACE}", True)],
)  # fmt: skip
def test_the_overview_filters_by_its_address(viewer: Running, query: str, shown: bool) -> None:
    """Every filter is a link that can be shared."""
    made = deaths.made(deaths.segfault("req-a"))
    viewer.deliver(made)

    assert (made.id in viewer.get(f"?{query}").text) is shown


def test_lists_go_on_where_a_page_ends(viewer: Running) -> None:
    """`Older` leads to the captures that did not fit."""
    made = [deaths.made(deaths.killed()) for _ in range(3)]
    for one in made:
        viewer.deliver(one)

    first = viewer.get("?limit=2").text
    older = first.partition('rel="next"')[0].rpartition('href="/?')[2].partition('"')[0].replace("&amp;", "&")
    second = viewer.get(f"?{older}").text

    seen = [f"/captures/{one.id}" in first for one in made], [f"/captures/{one.id}" in second for one in made]
    assert sum(seen[0]) == 2 and sum(seen[1]) == 1
    assert all(a != b for a, b in zip(*seen, strict=True))


def test_the_capture_page_answers_why(viewer: Running) -> None:
    """Verdict, request, trace, crashing frames, signal with fault address, memory, limits, modules: all are there."""
    made = deaths.made(deaths.segfault("req-a"))
    viewer.deliver(made)

    text = viewer.get(f"captures/{made.id}").text

    verdict = made.capture.verdict or {}
    assert text.index(verdict["sentence"].split(" while")[0]) < text.index("Crashing thread")
    wanted = ["/requests/req-a", f"/traces/{deaths.TRACE}", "price.c:31", "0x0000000000000000", "Other threads"]
    wanted += ["open_files", "LANG", "212.0 MiB", "the target stood still 81 ms", made.capture.artifacts[0].name]
    for words in wanted:
        assert words in text, words


def test_a_crash_leads_to_how_it_was_when_it_was_well(viewer: Running) -> None:
    """Where the instance has a healthy report from before, the page leads to what changed since, most first."""
    healthy = deaths.made(deaths.live(now() - timedelta(hours=1)))
    crash = deaths.made(deaths.segfault())
    viewer.deliver(crash)
    assert "since it was well" not in viewer.get(f"captures/{crash.id}").text
    viewer.deliver(healthy)

    assert f"/diff?a={healthy.id}&amp;b={crash.id}" in viewer.get(f"captures/{crash.id}").text
    text = viewer.get(f"diff?a={healthy.id}&b={crash.id}").text
    assert text.index("Changed most") < text.index("Verdict")
    assert "Changed most" not in viewer.get(f"diff?a={crash.id}&b={healthy.id}").text


def test_a_crash_loop_counts_in_its_group(viewer: Running) -> None:
    """What was counted and not kept is in the group's number, on the lists, and on the page."""
    made = deaths.made(deaths.killed()).with_manifest(repeats=49)
    viewer.deliver(made)

    assert "×50" in viewer.get("").text
    assert "<strong>50</strong>" in viewer.get(f"groups/{made.capture.fingerprint}").text
    assert "<strong>50</strong>" in viewer.get("?q=SIGKILL").text
    assert "49 just before" in viewer.get(f"captures/{made.id}").text


def test_a_report_is_saved_as_one_file(viewer: Running) -> None:
    """The page leads to the report as one HTML file, which is never shown on the viewer's own origin."""
    made = hostile_report(deaths.made(deaths.segfault()))
    viewer.deliver(made)

    assert f"/captures/{made.id}/report.html" in viewer.get(f"captures/{made.id}").text
    answer = viewer.get(f"captures/{made.id}/report.html")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "alert(" in answer.text and "<script" not in answer.text and "<img" not in answer.text
    bare = deaths.with_report(deaths.made(deaths.killed()), b"{}")
    viewer.deliver(bare)
    assert viewer.get(f"captures/{bare.id}/report.html").status_code == 404


def test_an_oom_kill_shows_the_last_look(viewer: Running) -> None:
    """The growth stands in the evidence; types, mappings and samples have tables, in front of the stacks of then."""
    made = deaths.made(deaths.out_of_memory())
    viewer.deliver(made)

    text = viewer.get(f"captures/{made.id}").text

    assert "Memory in use grew from 120 MiB to 480 MiB in the last 1 min 0 s measured, 6 MiB a second." in text
    assert text.index("480.0 MiB of 512.0 MiB in use, 2.0 s before") < text.index("shop.carts.Cart</td>")
    assert text.index("333.0 MiB") < text.index("[heap]") < text.index("How it grew") < text.index('id="threads"')


def test_a_hang_shows_both_looks(viewer: Running) -> None:
    """The verdict, what moved between the looks, the stack that stands, and the request it serves, with its link."""
    made = deaths.made(deaths.hung())
    viewer.deliver(made)

    text = viewer.get(f"captures/{made.id}").text

    assert "both looks show the same" in text
    assert text.index("both looks show the same") < text.index("2 looks in a row") < text.index("0 of 1 threads moved")
    assert text.index("0 of 1 threads moved") < text.index(", sleeps, at the last look") < text.index('id="threads"')
    assert 'href="/requests/req-hang-5"' in text[text.index("at the last look") :]


def test_exceptions_show_their_chain(viewer: Running) -> None:
    """The exception that ended it comes first, then what caused it."""
    made = deaths.made(deaths.exception())
    viewer.deliver(made)

    text = viewer.get(f"captures/{made.id}").text

    assert text.index("app.CheckoutFailed") < text.index("caused by") < text.index("KeyError</span>")


@pytest.mark.parametrize(
    "report", [b"no json", b"[1]", b"{}", b'{"threads": {"a": 1}, "signal": [], "exit": 7, "recent": "x"}']
)
def test_a_bad_report_still_has_a_page(viewer: Running, report: bytes) -> None:
    """A report that cannot be read leaves the manifest's answer and the file itself."""
    made = deaths.with_report(deaths.made(deaths.segfault()), report)
    viewer.deliver(made)

    answer = viewer.get(f"captures/{made.id}")

    assert answer.status_code == 200
    assert "NULL pointer" in answer.text
    name = next(iter(made.files))
    assert viewer.get(f"captures/{made.id}/artifacts/{name}").content == report


def test_a_capture_is_found_by_the_start_of_its_id(viewer: Running) -> None:
    """What `diag show` takes, the address bar takes; an id that fits several or none says so."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)

    assert viewer.get(f"captures/{made.id[:13]}").headers["Location"] == f"/captures/{made.id}"
    assert viewer.get(f"captures/{new_capture_id()}").status_code == 404
    assert viewer.get("captures/zzzz").status_code == 404


def test_artifacts_are_fetched_by_the_names_of_the_manifest(viewer: Running) -> None:
    """A name that the manifest does not have is not there, whatever stands beside it in the store."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)

    assert viewer.get(f"captures/{made.id}/artifacts/manifest.json").json()["capture_id"] == made.id
    for name in ("other.json", "..%2f..%2fx", ".hidden"):
        assert viewer.get(f"captures/{made.id}/artifacts/{name}").status_code == 404


@pytest.mark.parametrize("request_id", ["a/b", "ü ñ", "x?y#z&w", "100%", "..", "a/../b", "-", "<b>"])
def test_odd_ids_have_a_page(viewer: Running, request_id: str) -> None:
    """An id from a header may hold anything; the link that its capture shows leads to its captures."""
    made = deaths.made(deaths.segfault(request_id))
    viewer.deliver(made)
    page = viewer.get(f"captures/{made.id}").text

    href = page.partition("<dt>Request</dt>")[2].partition('href="')[2].partition('"')[0].replace("&amp;", "&")

    assert made.id in viewer.get(href).text


def test_what_does_not_exist_says_what_to_do(viewer: Running) -> None:
    """404 on every kind of page is a sentence and a way on."""
    for path in ("captures/none", "groups/none", "instances/none", "requests/none", "traces/none", "nothing"):
        answer = viewer.get(path)
        assert answer.status_code == 404
        assert "Overview" in answer.text and "<h1>" in answer.text


@pytest.mark.parametrize("query", ["since=yesterday", "limit=0", "limit=x"])
def test_a_mistyped_filter_is_a_sentence(viewer: Running, query: str) -> None:
    """A filter that cannot be read is 400 on page and API, never an empty list."""
    assert viewer.get(f"?{query}").status_code == 400
    answer = viewer.get(f"api/v1/captures?{query}")
    assert answer.status_code == 400 and answer.json()["help"]


def test_odd_queries_are_answered(viewer: Running) -> None:
    """What url_for, a database or a template could trip over in a query string does no harm."""
    viewer.deliver(deaths.made(deaths.segfault()))

    for query in (
        "_external=1&_scheme=x&endpoint=y",
        "q=%00",
        "q=%22",
        "q=%ff",
        "cursor=x",
        "cursor=~",
        "q=" + "x" * 3000,
    ):
        assert viewer.get(f"?{query}").status_code == 200, query


def test_traces_link_to_the_tracing_system(home: Path) -> None:
    """The template of the settings makes the link, with the id escaped."""
    with running(home / "store", "--trace-url", "https://tempo.example/t/{trace_id}?x=1") as viewer:
        made = deaths.made(deaths.segfault())
        viewer.deliver(made)

        assert f'href="https://tempo.example/t/{deaths.TRACE}?x=1"' in viewer.get(f"captures/{made.id}").text
        assert f'href="https://tempo.example/t/{deaths.TRACE}?x=1"' in viewer.get(f"traces/{deaths.TRACE}").text


def test_the_fragment_is_fetched_anew_only_when_it_changed(viewer: Running) -> None:
    """An open page asks every two seconds; while nothing is new the answer is empty."""
    viewer.deliver(deaths.made(deaths.segfault()))
    first = viewer.get("fragments/overview")
    again = viewer.get("fragments/overview", headers={"If-None-Match": first.headers["ETag"]})
    viewer.deliver(deaths.made(deaths.killed()))
    changed = viewer.get("fragments/overview", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, again.status_code, again.content, changed.status_code) == (200, 304, b"", 200)
    assert "killed by SIGKILL" in changed.text
