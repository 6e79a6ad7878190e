"""Profiles in the viewer: their page, their files, the flame graph, and what differs between two."""

from __future__ import annotations

import re
from dataclasses import replace

import captured
import deaths
import pytest
from viewers import Running

from diag.profiles import formats
from diag.profiles.model import Frame, Profile

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"


def poisoned(profile: Profile) -> Profile:
    """The profile with markup in every name and label."""
    frames = tuple(Frame(one.function + HOSTILE, one.file + HOSTILE, one.line) for one in profile.frames)
    sets = tuple(
        tuple(one._replace(value=one.value + HOSTILE) if isinstance(one.value, str) else one for one in labels)
        for labels in profile.label_sets
    )
    taken = replace(profile.recording, engine=HOSTILE, mode=HOSTILE)
    return replace(profile, frames=frames, label_sets=sets, recording=taken)


def test_the_page_answers_where_the_time_goes(viewer: Running) -> None:
    """Without a click and without a script: hottest functions, threads, requests, pictures, what is missing."""
    made = captured.made(captured.shop())
    assert viewer.deliver(made) == [201, 201, 201]

    text = viewer.get(f"captures/{made.id}").text

    assert text.index("28 % price (app.py)") < text.index('class="icicle"') < text.index("Hottest by itself")
    wanted = ["Hottest with what it calls", "By thread", "By module", "By request", "3 lost, 2 invalid", "py-spy 0.4.1"]
    wanted += [f"/requests/{request}" for request in captured.REQUESTS]
    wanted += ["Over time", "100 Hz", f"/captures/{made.id}/flamegraph#profileURL=", '<span class="tag">app</span>']
    for words in wanted:
        assert words in text, words
    assert "cannot be" not in text and 'role="alert"' not in text


def test_every_format_is_a_download(viewer: Running) -> None:
    """pprof as it was stored; speedscope and collapsed stacks with the same samples; one page in a file."""
    profile = captured.shop(samples=100)
    made = captured.made(profile)
    viewer.deliver(made)
    address = f"captures/{made.id}/profile."

    answers = {form: viewer.get(address + form) for form in ("pb.gz", "speedscope.json", "collapsed.txt", "html")}

    assert all("attachment" in answer.headers["Content-Disposition"] for answer in answers.values())
    assert answers["pb.gz"].content == made.files["profile.pb.gz"]
    assert len(formats.read(answers["speedscope.json"].content)) == 100
    assert sum(formats.read(answers["collapsed.txt"].content).values[0]) == profile.total(1)
    page = answers["html"].text
    assert "price" in page and "default-src 'none'" in page and not re.search(r"<link|src=.?(http|/)", page)
    assert answers["html"].headers["Content-Type"] == "application/octet-stream"
    assert viewer.get(address + "exe").status_code == 404


def test_a_browser_that_has_a_file_is_not_sent_it_again(viewer: Running) -> None:
    """What was made has a tag; whoever takes no gzip gets it plain."""
    made = captured.made(captured.shop(samples=100))
    viewer.deliver(made)
    address = f"captures/{made.id}/profile.flamegraph.json"

    first = viewer.get(address)
    again = viewer.get(address, headers={"If-None-Match": first.headers["ETag"]})
    plain = viewer.get(address, headers={"Accept-Encoding": "identity"})

    assert first.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert (again.status_code, again.content) == (304, b"")
    assert first.json() == plain.json()


def test_the_flame_graph_has_a_policy_of_its_own(viewer: Running) -> None:
    """Scripts from here only, one style element with a nonce that is never used twice; only we frame it."""
    made = captured.made(captured.shop(samples=10))
    viewer.deliver(made)

    first, second = (viewer.get(f"captures/{made.id}/flamegraph") for _ in range(2))

    policy = first.headers["Content-Security-Policy"]
    (nonce,) = re.findall(r"'nonce-([^']+)'", policy)
    assert f'nonce="{nonce}"' in first.text and nonce not in second.text
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
    assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
    assert "frame-ancestors 'none'" in viewer.get(f"captures/{made.id}").headers["Content-Security-Policy"]


def test_a_capture_without_a_profile_has_no_flame_graph(viewer: Running) -> None:
    """It is 404 with a sentence."""
    made = deaths.made(deaths.killed())
    viewer.deliver(made)

    for path in ("flamegraph", "profile.pb.gz", "profile.speedscope.json"):
        assert "has no profile" in viewer.get(f"captures/{made.id}/{path}").text


def test_markup_in_a_profile_is_text(viewer: Running) -> None:
    """Names of functions, files, threads, requests and engines reach every page as text."""
    made, plain = captured.made(poisoned(captured.shop(samples=60))), captured.made(captured.shop())
    viewer.deliver(made)
    viewer.deliver(plain)

    for path in (f"captures/{made.id}", f"captures/{made.id}/profile.html", f"diff?a={plain.id}&b={made.id}"):
        answer = viewer.get(path)
        assert answer.status_code == 200 and "alert(" in answer.text, path
        assert "<script>alert" not in answer.text and "<img src=x" not in answer.text, path


BAD: dict[str, dict[str, bytes]] = {
    "no summary": {"profile.pb.gz": captured.made(captured.shop()).files["profile.pb.gz"]},
    "no profile": {"summary.json": captured.made(captured.shop()).files["summary.json"]},
    "nothing": {"profile.pb.gz": b"", "summary.json": b""},
    "cut": {"profile.pb.gz": formats.write(captured.shop(), "pprof")[:300], "summary.json": b'{"facts": {'},
    "other types": {"profile.pb.gz": b"\x0a\xff", "summary.json": b'{"facts": [], "by_self": {"a": 1}, "threads": 0}'},
    "a list": {"profile.pb.gz": b"[]", "summary.json": b"[]"},
    "huge": {"profile.pb.gz": b"x", "summary.json": b'{"by_self": [' + b",".join([b"{}"] * 600_000) + b"]}"},
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_profile_still_has_a_page(viewer: Running, case: str) -> None:
    """What cannot be read is said; what can be is shown, and the files are there to fetch."""
    made = captured.with_files(captured.made(captured.shop()), BAD[case])
    viewer.deliver(made)

    answer = viewer.get(f"captures/{made.id}")

    assert answer.status_code == 200
    if case == "no summary":
        assert "price" in answer.text and 'class="icicle"' in answer.text
    else:
        assert 'role="alert"' in answer.text
    for name, content in made.files.items():
        assert viewer.get(f"captures/{made.id}/artifacts/{name}").content == content


def test_a_profile_of_nothing_says_so(viewer: Running) -> None:
    """A profile without a sample has a page that says what to try."""
    made = captured.made(captured.shop(samples=0))
    viewer.deliver(made)

    assert "--mode wall" in viewer.get(f"captures/{made.id}").text


def test_two_profiles_are_compared(viewer: Running) -> None:
    """From a profile's page a link leads to what changed since another of the same instance."""
    before, after = captured.made(captured.shop("req-cart-2")), captured.made(captured.shop())
    elsewhere = captured.made(captured.shop(), instance=deaths.instance("other", service="other"))
    for one in (before, after, elsewhere):
        viewer.deliver(one)

    page = viewer.get(f"captures/{after.id}").text
    (href,) = re.findall(r'href="/(diff\?[^"]+)"', page)
    text = viewer.get(href.replace("&amp;", "&")).text

    assert href == f"diff?a={before.id}&amp;b={after.id}"
    assert "▲ +" in text and "▼ −" in text and 'class="grew much"' in text
    assert text.index("checkout") > 0 and f"/diff?a={after.id}&amp;b={before.id}" in text


def test_two_reports_are_compared(viewer: Running) -> None:
    """What differs stands in sections, the verdict first."""
    live, crash = deaths.made(deaths.live()), deaths.made(deaths.segfault())
    for one in (live, crash):
        viewer.deliver(one)

    text = viewer.get(f"diff?a={live.id}&b={crash.id}").text

    assert text.index("<h2>Verdict") < text.index("<h2>Signal") < text.index("<h2>Threads")
    assert "SIGSEGV" in text and "not there" in text
    assert "Nothing differs" in viewer.get(f"diff?a={crash.id}&b={crash.id}").text


def test_what_cannot_be_compared_is_a_sentence(viewer: Running) -> None:
    """A profile and a report, a missing id, an unknown one: each says what to name."""
    profile, report = captured.made(captured.shop()), deaths.made(deaths.live())
    for one in (profile, report):
        viewer.deliver(one)

    answers: list[tuple[str, int, str]] = [
        (f"a={profile.id}&b={report.id}", 400, "nothing in common"),
        (f"a={profile.id}", 400, "b is missing"),
        (f"a={profile.id}&b=zzz", 404, "There is no capture zzz"),
    ]
    for query, status, words in answers:
        answer = viewer.get(f"diff?{query}")
        assert (answer.status_code, words in answer.text) == (status, True), query


def test_lists_of_a_kind_without_deaths_say_no_nonsense(viewer: Running) -> None:
    """The overview of profiles lists them, and does not say that nothing has died."""
    made = captured.made(captured.shop())
    viewer.deliver(made)

    text = viewer.get("?kind=profile").text

    assert made.id in text and "No instance has died" not in text and "No crash matches" not in text
