"""Pins and tombstones in the viewer: who may set them, and what pages and lists say of them."""

from __future__ import annotations

import json
import re

import deaths
import pytest
import requests
from machine import TIMEOUT_S
from viewers import Running

from diag.model import new_capture_id
from diag.upload import keys
from diag.upload.pins import Pin

MARK = ">pinned</span>"


def note_of(capture_id: str, kind: str) -> str:
    """The address of a note in the object API."""
    return f"api/v1/objects/{keys.note('default', kind, capture_id)}"


def pin_of(capture_id: str) -> bytes:
    """A pin as the command line makes it."""
    return json.dumps(Pin(capture_id, "ann on box", "2026-03-04T05:06:07.000+00:00", "why not").to_json()).encode()


def logged_in(guarded: Running, token: str) -> requests.Session:
    """A browser's session."""
    browser = requests.Session()
    form = browser.get(guarded.url + "login", timeout=TIMEOUT_S).text
    csrf = re.findall(r'name="csrf" value="([^"]*)"', form)[0]
    browser.post(guarded.url + "login", {"csrf": csrf, "token": token}, timeout=TIMEOUT_S)
    return browser


def test_a_capture_is_pinned_on_its_page(viewer: Running) -> None:
    """The page says who and why, lists mark it at once, a secret is removed; unpinned all is as before."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)
    browser = requests.Session()
    page = f"{viewer.url}captures/{made.id}"

    def submit(action: str, **fields: str) -> requests.Response:
        csrf = re.findall(r'name="csrf" value="([^"]*)"', browser.get(page, timeout=TIMEOUT_S).text)[0]
        return browser.post(f"{page}/{action}", {"csrf": csrf, **fields}, timeout=TIMEOUT_S)

    pinned = submit("pin", reason="<b>the post-mortem</b> password=hunter2hunter2")
    overview = viewer.get("?kind=crash").text
    unpinned = submit("unpin")

    assert pinned.url == page and MARK in pinned.text
    assert "by the admin in the viewer" in pinned.text
    assert "&lt;b&gt;the post-mortem&lt;/b&gt;" in pinned.text and "hunter2" not in pinned.text
    assert MARK in overview
    assert MARK not in unpinned.text
    assert MARK not in viewer.get("?kind=crash").text
    assert viewer.ask("HEAD", note_of(made.id, keys.PINS)).status_code == 404


@pytest.mark.parametrize(("token", "may"), [("v-token", False), ("o-token", True), ("a-token", True)])
def test_pinning_takes_an_operator(guarded: Running, token: str, may: bool) -> None:
    """Viewers see no form, and are refused where they send one; and nobody pins without the session's own value."""
    made = deaths.made(deaths.segfault())
    guarded.deliver(made, "a-token")
    browser = logged_in(guarded, token)
    page = browser.get(f"{guarded.url}captures/{made.id}", timeout=TIMEOUT_S).text
    csrf = re.findall(r'name="csrf" value="([^"]*)"', page)[0]  # that of the form that logs out

    forged = browser.post(f"{guarded.url}captures/{made.id}/pin", {"reason": "x"}, timeout=TIMEOUT_S)
    sent = browser.post(f"{guarded.url}captures/{made.id}/pin", {"csrf": csrf}, timeout=TIMEOUT_S)

    assert (f"captures/{made.id}/pin" in page) is may
    assert forged.status_code == 403
    assert sent.status_code == (200 if may else 403)
    assert guarded.get(note_of(made.id, keys.PINS), "v-token").status_code == (200 if may else 404)


@pytest.mark.parametrize(
    ("kind", "method", "allowed"),
    [
        (keys.PINS, "GET", "voa"),
        (keys.PINS, "HEAD", "voa"),
        (keys.PINS, "PUT", "oa"),
        (keys.PINS, "DELETE", "oa"),
        (keys.DELETED, "GET", "voa"),
        (keys.DELETED, "PUT", "a"),
        (keys.DELETED, "DELETE", "a"),
    ],
)
def test_notes_are_no_agents_business(guarded: Running, kind: str, method: str, allowed: str) -> None:
    """An agent's token delivers captures: it neither pins them nor has them removed."""
    made = deaths.made(deaths.segfault())
    data = {keys.PINS: pin_of(made.id), keys.DELETED: made.manifest}[kind]

    for role in "voag":
        if method == "PUT":
            answer = guarded.put(keys.note("default", kind, made.id), data, f"{role}-token")
        else:
            answer = guarded.ask(method, note_of(made.id, kind), f"{role}-token")
        assert (answer.status_code != 403) == (role in allowed), (role, answer.status_code)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (keys.PINS, b"{"),
        (keys.PINS, b"[]"),
        (keys.PINS, b'{"capture_id": "x"}'),
        (keys.PINS, pin_of(new_capture_id())),
        (keys.DELETED, b"{}"),
        (keys.DELETED, deaths.made(deaths.killed()).manifest),
    ],
)
def test_a_note_that_is_none_is_refused(viewer: Running, kind: str, content: bytes) -> None:
    """What is kept of a capture is about that capture, and can be read."""
    capture_id = new_capture_id()

    assert viewer.put(keys.note("default", kind, capture_id), content).status_code == 422
    assert viewer.ask("HEAD", note_of(capture_id, kind)).status_code == 404


@pytest.mark.parametrize("key", ["v1/default/pins/x.json", "v1/default/deleted/..json", "v1/other/pins/{id}.json"])
def test_a_note_has_a_key_of_its_own(viewer: Running, key: str) -> None:
    """Other names, and other tenants', are refused."""
    capture_id = new_capture_id()

    assert viewer.put(key.format(id=capture_id), pin_of(capture_id)).status_code == 422


def test_a_capture_that_was_removed_is_forgotten_when_it_is_opened(viewer: Running) -> None:
    """Pruned behind the viewer's back, its page says so, and no list has it from then on."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)
    for name in (*made.files, keys.MANIFEST):
        (viewer.store / made.key(name)).unlink()

    answer = viewer.get(f"captures/{made.id}")

    assert answer.status_code == 404 and "has been removed" in answer.text
    assert viewer.get("api/v1/captures").json()["captures"] == []


def test_a_lost_file_is_no_removal(viewer: Running) -> None:
    """As long as the manifest is there the capture is listed, and its page says what is wrong."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)
    (viewer.store / made.key(next(iter(made.files)))).unlink()

    assert "Not all can be shown" in viewer.get(f"captures/{made.id}").text
    assert len(viewer.get("api/v1/captures").json()["captures"]) == 1
