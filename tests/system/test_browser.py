"""The viewer as a person uses it: a real Chromium on real pages."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import captured
import deaths
import overheard
import pytest
import remembered
import stacked
import told
from buckets import oss_bucket
from machine import TIMEOUT_S, need
from oss_server import Key
from oss_server import running as running_oss
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Frame, Page, expect, sync_playwright
from viewers import Running, running

from diag.model import new_capture_id
from diag.profiles import formats
from diag.upload import pins
from diag.upload.http import HttpStore

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, NARROW = 1440, 390
DRIVER = "GL Driver Message"  # what a machine without a graphics card says about itself
PATIENCE_S = 180  # a large profile, drawn without a graphics card; and the first start of a browser
expect.set_options(timeout=TIMEOUT_S * 1000)
# How many different colours the page's canvases show.
COLOURS = """() => {
  const all = [...document.querySelectorAll("canvas")];
  const copy = Object.assign(document.createElement("canvas"), {width: 600, height: 400});
  const pen = copy.getContext("2d");
  for (const one of all) pen.drawImage(one, 0, 0, 600, 400);
  return new Set(new Uint32Array(pen.getImageData(0, 0, 600, 400).data.buffer)).size;
}"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=PATIENCE_S * 1000)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the console said: violated policies, failed scripts, missing files."""
    return []


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = patient(browser, viewport={"width": WIDE, "height": 900})
    yield context
    context.close()


def patient(browser: Browser, **options: Any) -> BrowserContext:
    """A context of its own, whose pages may take as long as everything here."""
    context = browser.new_context(**options)
    context.set_default_timeout(TIMEOUT_S * 1000)
    return context


@pytest.fixture
def page(context: BrowserContext, complaints: list[str]) -> Page:
    page = context.new_page()
    listen(page, complaints)
    return page


def listen(page: Page, complaints: list[str]) -> None:
    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and DRIVER not in message.text:
            complaints.append(f"{page.url}: {message.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))


@pytest.fixture
def viewer(home: Path) -> Iterator[Running]:
    with running(home / "store", "--trace-url", "https://tempo.example/t/{trace_id}") as one:
        yield one


def test_a_crash_is_followed_to_its_request_and_back(viewer: Running, page: Page, complaints: list[str]) -> None:
    """Overview, group, capture, request, trace, capture again and instance, by clicks alone."""
    viewer.deliver(deaths.made(deaths.segfault("req-first")))
    made = deaths.made(deaths.segfault("req-checkout-1"))
    viewer.deliver(made)

    page.goto(viewer.url)
    page.locator(".groups").get_by_role("link", name="SIGSEGV in price_of").click()
    expect(page.locator(".strip")).to_contain_text("2 times")
    page.locator(f'[data-key="{made.id}"] a.title').click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("NULL pointer dereference in price_of")
    expect(page.locator(".crashed .frame.app .function").first).to_contain_text("price_of")
    page.locator(".strip").get_by_role("link", name="req-checkout-1").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("req-checkout-1")
    page.get_by_role("link", name=deaths.TRACE).click()
    expect(page.get_by_role("link", name="Open in the tracing system")).to_have_attribute(
        "href", f"https://tempo.example/t/{deaths.TRACE}"
    )
    expect(page.locator(".captures > li")).to_have_count(2)
    page.locator(f'[data-key="{made.id}"] a.title').click()
    page.locator(".strip").get_by_role("link", name="shop", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("shop")
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What died")
    assert complaints == []


def test_stacks_answer_without_a_click(viewer: Running, page: Page, complaints: list[str]) -> None:
    """The ring stands on top, those who wait in it are open, a pool is one line; a task opens to its stack."""
    made = stacked.made()
    viewer.deliver(made)

    page.goto(f"{viewer.url}/captures/{made.id}")

    expect(page.locator(".ring li")).to_have_count(2)
    expect(page.locator(".ring")).to_be_in_viewport()
    expect(page.locator(".thread[open] .frame.app .function").first).to_contain_text("reserve")
    pool = page.locator(".thread", has_text="39 threads")
    expect(pool.locator(".frames")).to_be_hidden()
    page.locator(".tree .depth-2 summary").click()
    expect(page.locator(".tree .depth-2 .frames")).to_be_visible()
    expect(page.locator(".looks tr.moved")).to_have_count(1)
    assert complaints == []


def test_a_new_crash_appears_without_a_reload(viewer: Running, page: Page, complaints: list[str], home: Path) -> None:
    """Delivered over HTTP or written beside us, a crash shows up on the open page, marked as new."""
    page.goto(viewer.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing has been caught yet")
    expect(page.locator("#live-state")).to_contain_text("Live")
    page.evaluate("window.here = true")

    viewer.deliver(deaths.made(deaths.killed()))
    expect(page.locator(".captures > li")).to_have_count(1)
    written = deaths.write(deaths.made(deaths.segfault()), viewer.store)
    expect(page.locator(".captures > li")).to_have_count(2)

    expect(page.locator(f'.captures [data-key="{written.id}"]')).to_have_class("fresh")
    assert page.evaluate("window.here") is True
    assert complaints == []


def test_a_viewer_that_is_gone_is_said(home: Path, page: Page) -> None:
    """An open page says that it is no longer live, and stays readable."""
    with running(home / "store") as viewer:
        viewer.deliver(deaths.made(deaths.killed()))
        page.goto(viewer.url)
        expect(page.locator("#live-state")).to_contain_text("Live")

    expect(page.locator("#live-state")).to_contain_text("does not answer")
    expect(page.locator(".captures > li")).to_have_count(1)


def addresses(viewer: Running) -> list[str]:
    """One page of each kind."""
    segfault, exception = deaths.made(deaths.segfault("r" * 90)), deaths.made(deaths.exception(message="x" * 300))
    others = [deaths.made(one) for one in (deaths.killed(), deaths.live(), deaths.stopped())] + [stacked.made()]
    for one in (segfault, exception, *others):
        viewer.deliver(one)
    before, after = captured.made(captured.shop("req-cart-2")), captured.made(captured.shop())
    for one in (before, after):
        viewer.deliver(one)
    # What was asked, by whom, and of whom, as long as it may get.
    long = {
        **overheard.EXCHANGE,
        "what": f"GET /{'w' * 300}",
        "request_id": "q" * 90,
        "server": f"[{'fe80:' * 7}1]:65535",
    }
    talk = overheard.made(json.dumps({**overheard.SUMMARY, "slowest": [long] * 14, "failed": [long]}).encode())
    cast = deaths.transcript("\n".join(json.dumps(line) for line in CAST).encode())
    for one in (talk, cast):
        viewer.deliver(one)
    told.put(viewer.store, told.document(new_capture_id(), host="h" * 90, trouble="t" * 200))
    told.put(viewer.store, told.healthy(new_capture_id()))
    # One is pinned, with a reason that does not fit a line.
    pins.pin(HttpStore(viewer.url), "default", exception.id, "ann on box", "y" * 300)
    captures = [f"captures/{one.id}" for one in (segfault, exception, *others, after, talk, cast)]
    group = f"groups/{segfault.capture.fingerprint}"
    links = [f"requests/{'r' * 90}", f"traces/{deaths.TRACE}", "instances/shop-7d9f"]
    compared = [f"diff?a={before.id}&b={after.id}", f"diff?a={segfault.id}&b={exception.id}"]
    lists = ["", "?kind=event&q=shop", "?kind=profile", "instances", "agents"]
    return [*lists, group, *links, *captures, *compared]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_no_page_scrolls_sideways(
    viewer: Running, browser: Browser, complaints: list[str], width: int, scheme: str
) -> None:
    """Every page fits its window with everything unfolded, can be read in light and dark, and blocks nothing."""
    context = patient(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    listen(page, complaints)

    for address in addresses(viewer):
        page.goto(viewer.url + address)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        assert colours_that_are_hard_to_read(page) == [], address
    context.close()
    assert complaints == []


def colours_that_are_hard_to_read(page: Page) -> list[str]:
    """Texts whose contrast is below WCAG's AA (4.5 to 1; large texts 3 to 1)."""
    found: list[str] = page.evaluate(
        """() => {
          const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
          const light = ([r, g, b]) => [r, g, b]
            .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const behind = (one) => {
            for (; one; one = one.parentElement) {
              const colour = rgb(getComputedStyle(one).backgroundColor);
              if (colour.length < 4 || colour[3] > 0) return colour;
            }
            return [255, 255, 255];
          };
          const bad = [];
          const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walk.nextNode()) {
            const one = walk.currentNode.parentElement;
            if (!walk.currentNode.textContent.trim() || !one.checkVisibility()) continue;
            const style = getComputedStyle(one);
            const [a, b] = [light(rgb(style.color)), light(behind(one))].sort((x, y) => y - x);
            const size = parseFloat(style.fontSize);
            const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
            if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) bad.push(walk.currentNode.textContent.trim().slice(0, 40));
          }
          return bad;
        }"""
    )
    return found


def test_pages_work_without_scripts(viewer: Running, browser: Browser) -> None:
    """Without JavaScript everything is there to read and to follow; only buttons that need it are not shown."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)
    context = patient(browser, java_script_enabled=False)
    page = context.new_page()

    page.goto(viewer.url)
    page.get_by_label("Search captures").fill("price_of")
    page.get_by_role("button", name="Search").click()
    page.locator(".captures a.title").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("NULL pointer")
    expect(page.locator("button.copy").first).to_be_hidden()
    page.get_by_text("Memory and CPU").click()
    expect(page.get_by_text("212.0 MiB").last).to_be_visible()
    context.close()


def test_an_agent_in_trouble_is_followed_from_the_overview(viewer: Running, browser: Browser) -> None:
    """Without JavaScript the overview says that captures wait somewhere, and leads to the agent and its numbers."""
    told.put(viewer.store, told.healthy(new_capture_id(), host="web-1"))
    told.put(viewer.store, told.document(new_capture_id(), host="web-2", oldest_pending_s=900))
    context = patient(browser, java_script_enabled=False)
    page = context.new_page()

    page.goto(viewer.url)
    page.get_by_role("link", name="Agents in trouble").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Agents")
    expect(page.locator(".agents tbody tr")).to_have_count(1)
    expect(page.locator(".agents tbody tr")).to_contain_text("captures wait for more than 10 minutes")
    page.get_by_label("Filter agents").fill("nobody")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="Show all").click()
    expect(page.locator(".agents tbody tr")).to_have_count(2)
    context.close()


def test_ids_are_copied_with_a_button(viewer: Running, context: BrowserContext, page: Page) -> None:
    """The button beside an id copies the whole of it, also where it is shown cut."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{viewer.url}captures/{made.id}")
    page.evaluate("window.setTimeout = () => 0")  # what the button says stays there until it was read

    page.locator(".strip").get_by_role("button", name="Copy trace id").click()

    expect(page.locator(".strip .copy.done")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == deaths.TRACE


def test_the_keyboard_reaches_everything(viewer: Running, page: Page) -> None:
    """From the first Tab: skip link, navigation, search, then the first crash, opened with Enter."""
    viewer.deliver(deaths.made(deaths.segfault()))
    page.goto(viewer.url)

    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    for _ in range(30):
        if page.evaluate("document.activeElement.classList.contains('title')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator(".strip")).to_contain_text("1 time")


def test_a_capture_is_pinned_and_unpinned(viewer: Running, page: Page, complaints: list[str]) -> None:
    """On its page, with a reason; lists mark it until it is unpinned."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)
    page.goto(f"{viewer.url}captures/{made.id}")

    page.get_by_text("Pin it").click()
    page.get_by_label("Why it is kept").fill("for the post-mortem")
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.locator(".kept")).to_contain_text("for the post-mortem")
    page.goto(f"{viewer.url}instances/shop-7d9f")
    expect(page.locator(f'[data-key="{made.id}"]')).to_contain_text("pinned")
    page.goto(f"{viewer.url}captures/{made.id}")
    page.get_by_role("button", name="Unpin").click()

    expect(page.locator(".kept")).to_contain_text("as the rules say")
    page.goto(f"{viewer.url}instances/shop-7d9f")
    expect(page.locator(f'[data-key="{made.id}"]')).not_to_contain_text("pinned")
    assert complaints == []


def test_markup_in_a_report_never_runs(viewer: Running, page: Page, complaints: list[str]) -> None:
    """What a report says is text in the browser too: no element, no script, no request of its making."""
    markup = "<img src=/nothing onerror='window.ran = 1'><script>window.ran = 1</script>"
    made = deaths.made(deaths.exception(message=markup)).with_manifest(title=markup)
    viewer.deliver(made)

    for address in ("", f"captures/{made.id}"):
        page.goto(viewer.url + address)
        expect(page.get_by_text("onerror").first).to_be_visible()
        assert page.evaluate("window.ran") is None
    assert complaints == []


def test_people_log_in(home: Path, page: Page, complaints: list[str]) -> None:
    """A guarded viewer asks for a token, shows the page that was asked for, and says who is logged in."""
    (home / "tokens").write_text("viewer secret-of-mine\n")
    with running(home / "store", "--tokens", str(home / "tokens")) as viewer:
        page.goto(viewer.url + "instances")
        page.get_by_label("Token").fill("secret-of-mine")
        page.get_by_role("button", name="Log in").click()

        expect(page.get_by_role("heading", level=1)).to_have_text("Instances")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert complaints == []


def test_a_file_is_saved_from_the_bucket(home: Path, page: Page, complaints: list[str]) -> None:
    """With presigned downloads a click leads off the viewer's origin to a file, and no policy is in its way."""
    made = deaths.made(deaths.segfault())
    name, data = next(iter(made.files.items()))
    with running_oss(home / "oss", {"test-key": Key("test-secret")}) as server, oss_bucket(server) as bucket:
        more = ("--store", bucket.store_url, "--downloads", "presigned")
        with running(home / "unused", *more, environ=bucket.environ) as viewer:
            viewer.deliver(made)
            # The bucket is another host, as everywhere: cookies do not tell ports apart.
            page.goto(f"{viewer.url.replace('127.0.0.1', 'localhost')}captures/{made.id}")
            with page.expect_download() as saved:
                page.get_by_role("link", name=name).click()

            assert saved.value.path().read_bytes() == data
            assert saved.value.suggested_filename == name
            (seen,) = bucket.presigned()
            assert (seen.method, "referer" in seen.headers, "cookie" in seen.headers) == ("GET", False, False)
    assert complaints == []


def seen(page: Page | Frame, expression: str, wanted: Callable[[int], bool]) -> bool:
    """Whether the expression's value becomes what is wanted; asked for again with each frame that is drawn."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        if wanted(page.evaluate(expression)):
            return True
        page.evaluate("() => new Promise((drawn) => requestAnimationFrame(drawn))")
    return False


@pytest.mark.parametrize("profile", ["shop", "large"])
def test_a_flame_graph_is_drawn(
    viewer: Running, context: BrowserContext, page: Page, complaints: list[str], profile: str
) -> None:
    """speedscope draws the profile under our policy, in the page and in the whole window, 200,000 stacks too."""
    made = captured.made(getattr(captured, profile)())
    viewer.deliver(made)
    context.set_default_timeout(PATIENCE_S * 1000)
    page.goto(f"{viewer.url}captures/{made.id}")
    expect(page.locator("svg.icicle svg").first).to_be_visible()

    page.get_by_role("link", name="Open it in the whole window").click()
    expect(page).to_have_title(re.compile(r".+, cpu, 100 Hz.* - speedscope"), timeout=PATIENCE_S * 1000)

    assert seen(page, COLOURS, lambda found: found > 20)
    assert complaints == []


def test_the_flame_graph_is_framed_by_the_page(viewer: Running, page: Page, complaints: list[str]) -> None:
    """Whoever scrolls down the profile's page sees the flame graph there."""
    made = captured.made(captured.shop())
    viewer.deliver(made)
    page.goto(f"{viewer.url}captures/{made.id}")

    page.locator("iframe.flamegraph").scroll_into_view_if_needed()

    expect(page.frame_locator("iframe.flamegraph").get_by_text("Left Heavy")).to_be_visible()
    assert complaints == []


def test_a_saved_profile_opens_without_a_network(browser: Browser, complaints: list[str], tmp_path: Path) -> None:
    """The one HTML file shows tables and flame graph from a disk, asks for nothing, and fits a telephone."""
    path = tmp_path / "profile.html"
    path.write_bytes(formats.write(captured.shop(), "html"))
    context = patient(browser, offline=True, viewport={"width": NARROW, "height": 800})
    page = context.new_page()
    listen(page, complaints)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(path.as_uri())

    expect(page.get_by_role("heading", name="28 % in price (app.py)")).to_be_visible()
    frame = page.frames[1]
    assert seen(frame, COLOURS, lambda found: found > 10)
    expect(page.get_by_role("cell", name="req-checkout-1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert asked == [path.as_uri()]
    assert complaints == []
    context.close()


def test_a_profile_is_read_without_scripts(viewer: Running, browser: Browser) -> None:
    """Without JavaScript the pictures and tables are there, and another profile is compared by a link."""
    for slow in ("req-cart-2", "req-checkout-1"):
        viewer.deliver(captured.made(captured.shop(slow)))
    context = patient(browser, java_script_enabled=False)
    page = context.new_page()

    page.goto(viewer.url + "?kind=profile")
    page.locator(".captures a.title").first.click()
    expect(page.locator("svg.icicle svg").first).to_be_visible()
    expect(page.locator("svg.bars").first).to_be_visible()
    page.locator("#compare").get_by_role("link").first.click()

    expect(page.get_by_role("heading", level=1)).to_have_text("What changed")
    expect(page.locator("svg.icicle svg.grew").first).to_be_visible()
    context.close()


def test_memory_is_read_and_drawn(viewer: Running, page: Page, complaints: list[str]) -> None:
    """Who holds it, by what it grew, where it was allocated; it fits a phone; the flame graph is there."""
    profile = remembered.heap()
    made = remembered.made(remembered.told(profile), profile)
    viewer.deliver(made)

    page.goto(f"{viewer.url}captures/{made.id}")
    expect(page.get_by_role("heading", name="Who holds the memory")).to_be_visible()
    expect(page.locator("svg.icicle svg").first).to_be_visible()
    expect(page.locator("#types")).to_contain_text("shop.Order")
    expect(page.locator("#mappings")).to_contain_text("libshop.so")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("iframe.flamegraph").scroll_into_view_if_needed()
    expect(page.frame_locator("iframe.flamegraph").get_by_text("Left Heavy")).to_be_visible()
    page.set_viewport_size({"width": NARROW, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert complaints == []


CAST = [
    {"version": 2, "width": 40, "height": 10, "command": "sh -c <b>x</b>"},
    [0.1, "o", "\u001b[32mgreen\u001b[0m <img src=x onerror=alert(1)>\r\n"],
    [0.3, "r", "60x12"],
    [0.4, "o", "</script><script>alert(2)</script>\r\n"],
    [0.5, "o", "\u001b[99999;99999H\u001b[99999@\u001b[99999L\u001b[2;1Hlast\u001b[K"],
]


def test_a_transcript_is_played(viewer: Running, page: Page, browser: Browser, complaints: list[str]) -> None:
    """It plays, seeks and shows colours; without JavaScript all of it is there as text. Nothing in it is markup."""
    made = deaths.transcript("\n".join(json.dumps(line) for line in CAST).encode())
    viewer.deliver(made)

    page.goto(f"{viewer.url}/captures/{made.id}")
    screen = page.locator(".player .screen")
    expect(screen).to_contain_text("<img src=x")
    expect(screen.locator(".c2")).to_have_text("green")
    page.locator(".player .seek").fill("250")
    expect(screen).not_to_contain_text("last")
    page.get_by_role("button", name="Play").click()
    expect(screen).to_contain_text("last")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.locator(".player .seek").fill("900")
    expect(screen).to_contain_text("</script><script>alert(2)")
    expect(page.locator("#transcript img, #transcript b")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": NARROW, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert complaints == []

    plain = patient(browser, java_script_enabled=False)
    still = plain.new_page()
    still.goto(f"{viewer.url}/captures/{made.id}")
    expect(still.locator("#transcript pre.output")).to_contain_text("green <img src=x")
    expect(still.locator(".player")).to_be_hidden()
    plain.close()
