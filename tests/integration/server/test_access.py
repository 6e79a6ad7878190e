"""Who may reach what."""

from __future__ import annotations

import re
from pathlib import Path

import deaths
import pytest
import requests
from diag_server import openapi
from diag_server.access import ANYBODY, roles_of
from diag_server.answers import STATIC
from diag_server.app import create_app
from diag_server.config import ViewerConfig
from diag_server.tokens import INCLUDES
from flask import Flask
from machine import TIMEOUT_S
from viewers import Running

OPEN = {*STATIC, "login.form", "login.submit", "login.logout", "overview.healthz", "api.whoami"}


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    (tmp_path / "store").mkdir()
    app = create_app(ViewerConfig((tmp_path / "store").as_uri(), str(tmp_path / "index.sqlite")))
    app.extensions["diag"].engine.dispose()
    return app


def test_every_route_declares_a_role(app: Flask) -> None:
    """A route without a role does not exist, and only the listed ones are open to anybody."""
    for rule in app.url_map.iter_rules():
        roles = roles_of(app, rule.endpoint)
        assert roles, f"{rule.rule} declares no role"
        assert roles <= {*INCLUDES, ANYBODY}
        assert (ANYBODY in roles) == (rule.endpoint in OPEN), rule.rule


def test_a_route_without_a_role_is_reached_by_nobody(app: Flask) -> None:
    """Forgetting the role closes the route, also to an admin."""
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")

    assert app.test_client().get("/forgotten").status_code == 403


def test_every_route_is_described(app: Flask) -> None:
    """The OpenAPI document has every route and method, and none that does not exist."""
    described = {
        (path, name) for path, item in openapi.document()["paths"].items() for name in item if name != "parameters"
    }
    routed = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS"}
        if rule.endpoint not in STATIC and (method != "HEAD" or rule.endpoint == "objects.get")
    }

    assert described == routed


def test_actions_are_never_reached_by_get(app: Flask) -> None:
    """A route that changes something answers no GET."""
    for rule in app.url_map.iter_rules():
        if (rule.methods or set()) & {"POST", "PUT", "DELETE"}:
            assert "GET" not in (rule.methods or set()), rule.rule


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "api/v1/captures", "voa"),
        ("GET", "api/v1/objects", "voa"),
        ("GET", "api/v1/whoami", "voag"),
        ("GET", "", "voa"),
        ("GET", "{key}", "voa"),
        ("HEAD", "{key}", "voag"),
        ("PUT", "{key}", "ag"),
        ("DELETE", "{key}", "a"),
    ],
)
def test_roles_reach_what_they_may(guarded: Running, method: str, path: str, allowed: str) -> None:
    """viewer < operator < admin read; agents deliver and ask for heads; admins delete; nobody without a token."""
    made = deaths.made(deaths.segfault())
    url = path.format(key=f"api/v1/objects/{made.key('x.json')}")

    for role in "voag":
        status = guarded.ask(method, url, f"{role}-token", data=b"{}" if method == "PUT" else None).status_code
        assert (status != 403) == (role in allowed), (role, status)
        assert status != 401
    for token in ("", "x-token", "viewer"):
        status = guarded.ask(method, url, token).status_code
        # A page sends people to the login instead.
        assert status == (302 if not path and not token else 401 if path else status)
        assert status in (302, 401)


def test_refusals_say_what_to_do(guarded: Running) -> None:
    """401 and 403 are JSON with a sentence and the way out, and never repeat the token."""
    unknown = guarded.get("api/v1/captures", "wrong-token-77")
    small = guarded.put(deaths.made(deaths.segfault()).key("x"), b"x", "v-token")

    assert (unknown.status_code, small.status_code) == (401, 403)
    assert unknown.headers["WWW-Authenticate"].startswith("Bearer")
    assert "Authorization: Bearer" in unknown.json()["help"]
    assert "agent" in small.json()["error"]
    assert "wrong-token-77" not in unknown.text


def test_whoami_names_the_role(guarded: Running, viewer: Running) -> None:
    """A client learns who it is before it tries; without tokens everybody on the machine is admin."""
    assert guarded.get("api/v1/whoami", "g-token").json()["role"] == "agent"
    assert {"app": "diag", "role": "admin"}.items() <= viewer.get("api/v1/whoami").json().items()


def log_in(guarded: Running, token: str) -> tuple[requests.Session, requests.Response]:
    browser = requests.Session()
    form = browser.get(guarded.url + "login?next=/instances", timeout=TIMEOUT_S).text
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    answer = browser.post(guarded.url + "login", {**fields, "token": token}, timeout=TIMEOUT_S, allow_redirects=False)
    return browser, answer


def test_people_log_in_and_out(guarded: Running) -> None:
    """A token on the login page gives a session for the page that was asked for; logging out ends it."""
    asked = guarded.get("instances")
    browser, answer = log_in(guarded, "v-token")
    page = browser.get(guarded.url + "instances", timeout=TIMEOUT_S)
    csrf = re.findall(r'name="csrf" value="([^"]*)"', page.text)[0]
    browser.post(guarded.url + "logout", {"csrf": csrf}, timeout=TIMEOUT_S)

    assert (asked.status_code, asked.headers["Location"]) == (302, "/login?next=/instances")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/instances")
    assert page.status_code == 200 and "viewer" in page.text
    assert browser.get(guarded.url, timeout=TIMEOUT_S, allow_redirects=False).status_code == 302


def test_the_session_cookie_is_kept_from_scripts_and_other_sites(guarded: Running) -> None:
    """HttpOnly and SameSite=Strict, and no token in it."""
    _, answer = log_in(guarded, "v-token")

    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert "v-token" not in cookie


@pytest.mark.parametrize(("token", "status"), [("nope", 401), ("", 401), ("g-token", 403)])
def test_wrong_tokens_do_not_log_in(guarded: Running, token: str, status: int) -> None:
    """An unknown token and an agent's are told from each other, and neither gets a session."""
    browser, answer = log_in(guarded, token)

    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert browser.get(guarded.url, timeout=TIMEOUT_S, allow_redirects=False).status_code == 302


@pytest.mark.parametrize(
    "following", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_login_leads_to_our_own_pages_only(guarded: Running, following: str) -> None:
    """`next` cannot send a person to another site."""
    browser = requests.Session()
    form = browser.get(guarded.url + "login", timeout=TIMEOUT_S).text
    csrf = re.findall(r'name="csrf" value="([^"]*)"', form)[0]

    answer = browser.post(
        guarded.url + "login",
        {"csrf": csrf, "next": following, "token": "v-token"},
        timeout=TIMEOUT_S,
        allow_redirects=False,
    )

    assert answer.headers["Location"] == "/"


def test_forms_need_their_own_csrf_value(guarded: Running) -> None:
    """A form that our page did not make is refused, whoever sends it."""
    browser, _ = log_in(guarded, "v-token")

    for fields in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": "ü"}):
        assert browser.post(guarded.url + "logout", fields, timeout=TIMEOUT_S).status_code == 403
    assert browser.get(guarded.url, timeout=TIMEOUT_S, allow_redirects=False).status_code == 200


def test_a_cookie_alone_changes_nothing(guarded: Running) -> None:
    """What the API changes needs a bearer token or the session's csrf value."""
    browser, _ = log_in(guarded, "a-token")
    url = f"{guarded.url}api/v1/objects/{deaths.made(deaths.segfault()).key('x')}"

    assert browser.delete(url, timeout=TIMEOUT_S).status_code == 403
    assert guarded.ask("DELETE", url.removeprefix(guarded.url), "a-token").status_code == 204


@pytest.mark.parametrize("cookie", ["x", "eyJ0b2tlbiI6ICJ4In0.abc.def", "." * 4000])
def test_forged_sessions_are_nobody(guarded: Running, cookie: str) -> None:
    """A cookie that this viewer did not sign is no session."""
    answer = guarded.get("", headers={"Cookie": f"diag_session={cookie}"})

    assert answer.status_code == 302


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
def test_other_names_for_loopback_are_refused(viewer: Running, host: str) -> None:
    """Without tokens a page elsewhere cannot read the viewer through a name of its own (DNS rebinding)."""
    assert viewer.get("", headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost:8321", "127.0.0.1", "[::1]:1", "shop.localhost"])
def test_loopback_names_are_answered(viewer: Running, host: str) -> None:
    """The names of this machine's own loopback are fine."""
    assert viewer.get("", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_other_sites_change_nothing(viewer: Running, headers: dict[str, str]) -> None:
    """A page of another site that a browser has open cannot write to a viewer without tokens."""
    made = deaths.made(deaths.segfault())

    answer = viewer.ask("PUT", f"api/v1/objects/{made.key('x')}", data=b"x", headers=headers)

    assert answer.status_code == 403


def test_every_answer_has_the_strict_headers(viewer: Running) -> None:
    """Nothing inline, nothing framed, nothing guessed: on pages, API, failures and static files."""
    for path in ("", "api/v1/captures", "nothing", "static/style.css", "captures/none"):
        headers = viewer.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
