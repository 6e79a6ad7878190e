"""The redactor: no planted secret survives, what an engineer needs does, and hostile input costs linear time."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import replace

import pytest

from diag import redact
from diag.redact import FAILED, Redactor, is_secret_name

SECRET = "hunter2-Zq9x"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow" + "A" * 58 + "\nhunter2Zq9x==\n-----END RSA PRIVATE KEY-----"
BASIC = base64.b64encode(b"user:hunter2").decode()

# (rule, text, what must be gone, what must stay)
SECRETS = [
    ("authorization", f"GET / HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nHost: a", SECRET, "Host: a"),
    ("authorization", f"> authorization: Digest username=a, response={SECRET}", SECRET, "authorization"),
    ("authorization", f"{{'Authorization': 'Basic {BASIC}', 'Accept': 'x'}}", BASIC, "'Accept': 'x'"),
    ("authorization", f'{{"headers":"Authorization: Token {SECRET}","request_id":"r-1"}}', SECRET, "r-1"),
    ("authorization", f"(b'authorization', b'Bearer {SECRET}'), (b'host', b'a')", SECRET, "b'host'"),
    ("authorization", f"sent Authorization: Bearer {SECRET} to shop", SECRET, "to shop"),
    ("cookie", f"Cookie: theme=dark; sid={SECRET}\nHost: a", SECRET, "Host: a"),
    ("cookie", f"Set-Cookie: sid={SECRET}; HttpOnly", SECRET, "Set-Cookie"),
    ("cookie", f"{{'HTTP_COOKIE': 'sid={SECRET}; b=c', 'PATH_INFO': '/x'}}", SECRET, "/x"),
    ("cookie", f"got cookie: sid={SECRET}; b={SECRET} from r-1", SECRET, "from r-1"),
    ("bearer", f"refused bearer {SECRET} of r-1", SECRET, "of r-1"),
    ("basic", f"refused basic {BASIC} of r-1", BASIC, "of r-1"),
    ("jwt", f"decode of {JWT} failed", JWT, "failed"),
    ("aws-key", "key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE", "used"),
    ("alibaba-key", "key LTAI5tAbCdEfGhIjKlMnOpQr used", "LTAI5tAbCdEfGhIjKlMnOpQr", "used"),
    ("google-key", "AIza" + "B" * 35, "AIzaBB", ""),
    ("github-token", "clone with ghp_" + "a1" * 18, "ghp_a1", "clone"),
    ("gitlab-token", "clone with glpat-" + "a1" * 10, "glpat-a1", "clone"),
    ("slack-token", "post with xoxb-123456789012-abcdef", "xoxb-123", "post"),
    ("stripe-key", "charge with sk_live_" + "a1" * 12, "a1a1", "charge"),
    ("service-key", "call with sk-proj-" + "a1" * 12, "a1a1", "call"),
    ("private-key", f"before\n{PEM}\nafter", "hunter2", "after"),
    ("private-key", PEM[:80], "MIIEow", ""),
    ("private-key", PEM.partition("\n")[2], "hunter2", ""),
    ("url-credentials", f"cannot reach postgres://shop:{SECRET}@db:5432/shop?x=1", SECRET, "@db:5432/shop?x=1"),
    ("url-credentials", f"redis://:{SECRET}@cache/0", SECRET, "@cache/0"),
    ("url-credentials", f"amqp://u:p@{SECRET}@mq/v", SECRET, "@mq/v"),
    ("url-credentials", "https://0123456789abcdef0123@errors.example/1", "0123456789abcdef0123", "errors.example/1"),
    ("secret", f"connect(host='db', password='{SECRET}', port=1)", SECRET, "port=1"),
    ("secret", f"host=db password={SECRET} port=5432", SECRET, "port=5432"),
    ("secret", f"Server=db;Password={SECRET}", SECRET, "Server=db"),
    ("secret", f'{{"password": "{SECRET}", "user": "a"}}', SECRET, '"user": "a"'),
    ("secret", f"{{'api_key': '{SECRET}', 'user': 'a'}}", SECRET, "'user': 'a'"),
    ("secret", json.dumps({"body": json.dumps({"password": SECRET, "n": 1})}), SECRET, '\\"n\\": 1'),
    ("secret", json.dumps({"password": f'a"b{SECRET}', "n": 1}), SECRET, '"n": 1'),
    ("secret", f"[('password', '{SECRET}'), ('n', '1')]", SECRET, "('n', '1')"),
    ("secret", f"{{'password': '{SECRET}", SECRET, "password"),
    ("secret", f"AWS_SECRET_ACCESS_KEY={SECRET}", SECRET, "AWS_SECRET_ACCESS_KEY"),
    ("secret", f"GET /cb?access_token={SECRET}&page=2", SECRET, "&page=2"),
    ("secret", f"started with --db-password {SECRET} --port 1", SECRET, "--port 1"),
    ("secret", f"b'session': b'{SECRET}'", SECRET, "session"),
    ("secret", f"x-api-key: {SECRET}", SECRET, "x-api-key"),
    ("secret", f"MYSQL_PWD={SECRET} mysql", SECRET, "mysql"),
    ("card-number", "paid with 4111 1111 1111 1111 today", "4111", "today"),
    ("card-number", "paid with 5555-5555-5555-4444.", "5555", "paid"),
]

HARMLESS = [
    "request_id=019f3c1a-7b2e-7c3d-8e4f-0123456789ab trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span=00f067aa0ba902b7",
    "41111111-1111-1111-1111-111111111111 11111111111111111111111111111111 4111111111111111111111111111111111111111",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    'File "/srv/app/auth/token.py", line 41, in check_password',
    "/run/secrets/db_password: No such file or directory",
    "PWD=/srv/app OLDPWD=/root",
    "KeyError: 'password'",
    "connect(password=None, token='', secret=None)",
    "def check(password: str, token: str) -> bool:",
    "took 1732132800123456789 ns at 0x7f4111111111111111, pi 3.14159265358979323846",
    "https://shop.example:8443/orders?id=7&page=2",
    "ssh://git@github.com/org/repo",
    "max_tokens=4096 tokenizer=bpe author=ann",
    "Bearer authentication required, basic authentication is off",
    "order 1234567890123456 of customer 4111111111111112",
    "if token == other.token:",
]

HOSTILE = [
    "eyJ",
    "eyJaaaaaaaa.",
    "://",
    "://a:",
    "://:",
    ":",
    "@",
    "-----BEGIN PRIVATE KEY-----",
    "A=\n",
    "password=",
    'password="',
    "password=,",
    "password: ",
    "--password ",
    "--a-",
    "a-",
    "Authorization: ",
    "authorization:digest ",
    "cookie: a=b; ",
    "cookie:a=",
    "bearer ",
    "basic AAAA",
    "4 ",
    "4",
    "1-",
    "\\",
    '\\"',
    "'",
    '"',
    " ",
    "\n",
    "\r\n",
    "xoxb-",
    "sk-",
    "SG.a",
    "_PWD",
    "a",
    "é",
    "\ud800",
    "{'password': {",
    "'password',",
    "hooks.slack.com/",
    "token'",
    "=",
    "?a=",
    "//",
    "////@",
    "-",
    ">",
]


@pytest.mark.parametrize(("rule", "text", "gone", "stays"), SECRETS, ids=lambda value: str(value)[:40])
def test_a_secret_in_a_text_is_masked_by_its_rule(rule: str, text: str, gone: str, stays: str) -> None:
    """Each family of secrets is masked, named by its rule and counted; the rest of the text stays."""
    redactor = Redactor()

    masked = redactor.text(text)

    assert gone not in masked
    assert stays in masked
    assert f"[redacted:{rule}]" in masked
    assert rule in {entry["rule"] for entry in redactor.counts()}


@pytest.mark.parametrize(("rule", "text", "gone", "stays"), SECRETS, ids=lambda value: str(value)[:40])
def test_redaction_is_idempotent(rule: str, text: str, gone: str, stays: str) -> None:
    """A second pass changes nothing and counts nothing, so layers may each redact to be sure."""
    first, second = Redactor(), Redactor()

    once = first.text(text)

    assert second.text(once) == once
    assert second.counts() == ()
    assert second.url(once) == once


@pytest.mark.parametrize("text", HARMLESS)
def test_what_an_engineer_needs_survives(text: str) -> None:
    """Ids, digests, paths, addresses, code and prose come through as they are."""
    redactor = Redactor()

    assert redactor.text(text) == text
    assert redactor.counts() == ()


def _cost(text: str) -> float:
    started = time.process_time()
    Redactor().text(text)
    Redactor().url(text)
    return time.process_time() - started


@pytest.mark.parametrize("unit", HOSTILE, ids=repr)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """Four times the text takes about four times as long: a quadratic rule would take sixteen times."""
    small = _cost(unit * (65_536 // len(unit)) + "!")

    assert _cost(unit * (262_144 // len(unit)) + "!") < 9 * small + 0.2


def test_a_megabyte_of_everything_hostile_takes_linear_time() -> None:
    """A whole megabyte that mixes all of it costs no more than its parts."""
    mixed = "".join(unit * (4096 // len(unit)) for unit in HOSTILE)

    assert _cost((mixed * 8)[:1_048_576]) < 9 * _cost(mixed[:262_144]) + 0.2


def test_a_rule_that_fails_masks_the_whole_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrubber that breaks lets nothing through, and the failure is counted."""

    def broken(text: str) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(redact, "RULES", (replace(redact.RULES[0], pattern=re.compile("x"), hints=(), accept=broken),))
    redactor = Redactor()

    assert redactor.text("fox") == FAILED
    assert redactor.argv(["prog", "fox"]) == ["prog", FAILED]
    assert redactor.environment({"PATH": "/x", "LANG": "C"}) == {"PATH": FAILED, "LANG": "C"}
    assert {"rule": "failed", "count": 3} in redactor.counts()


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (["prog", "--password", SECRET, "--port", "1"], ["prog", "--password", "[redacted:secret]", "--port", "1"]),
        (["prog", f"--db-password={SECRET} with words"], ["prog", "--db-password=[redacted:secret]"]),
        (["prog", f"--token={SECRET}", "x"], ["prog", "--token=[redacted:secret]", "x"]),
        (["prog", f"-p={SECRET}", "-p=8080", "-p", "8080"], ["prog", "-p=[redacted:secret]", "-p=8080", "-p", "8080"]),
        (["/usr/bin/mysql", f"-p{SECRET}"], ["/usr/bin/mysql", "-p[redacted:secret]"]),
        (["curl", "-u", f"ann:{SECRET}", "http://a/"], ["curl", "-u", "[redacted:secret]", "http://a/"]),
        (["env", f"DB_PASSWORD={SECRET} x", "app"], ["env", "DB_PASSWORD=[redacted:secret]", "app"]),
        (["curl", "-H", f"Authorization: Bearer {SECRET}"], ["curl", "-H", "Authorization: [redacted:authorization]"]),
        (["prog", "--key-file", "/etc/k.pem", "--token", "--verbose"], None),
        ([], None),
    ],
)
def test_a_command_line_loses_the_values_of_secret_options(words: list[str], masked: list[str] | None) -> None:
    """Values of secret options are masked, in each way options are written; other words stay."""
    assert Redactor().argv(words) == (words if masked is None else masked)


def test_the_environment_is_an_allow_list() -> None:
    """Known names stay with scrubbed values; what is not known is left out and counted, never shown."""
    redactor = Redactor("SHOP_*, EXACT_TOKEN")
    variables = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONPATH": "/x",
        "PYTHON_KEYRING_TOKEN": SECRET,
        "GUNICORN_CMD_ARGS": f"--workers 2 --password {SECRET}",
        "DIAG_STORE": f"https://u:{SECRET}@viewer",
        "DIAG_TOKEN": SECRET,
        "FC_FUNCTION_NAME": "shop",
        "FC_ACCESS_KEY_SECRET": SECRET,
        "SHOP_ZONE": "b",
        "SHOP_PASSWORD": SECRET,
        "EXACT_TOKEN": SECRET,
        "DATABASE_URL": f"postgres://u:{SECRET}@db",
    }

    kept = redactor.environment(variables)

    assert SECRET not in str(kept)
    assert set(kept) == {
        "PATH",
        "LC_ALL",
        "PYTHONPATH",
        "GUNICORN_CMD_ARGS",
        "DIAG_STORE",
        "FC_FUNCTION_NAME",
        "SHOP_ZONE",
        "EXACT_TOKEN",
    }
    assert {"rule": "environment", "count": 5} in redactor.counts()


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        (f"https://ann:{SECRET}@a/x", "https://[redacted:url-credentials]@a/x"),
        (f"https://{SECRET}@a/x", "https://[redacted:url-credentials]@a/x"),
        (
            f"/cb?code=1&X-Amz-Signature={SECRET}&key={SECRET}&id=7",
            "/cb?code=1&X-Amz-Signature=[redacted:secret]&key=[redacted:secret]&id=7",
        ),
        (f"/cb?pass%77ord={SECRET}", "/cb?pass%77ord=[redacted:secret]"),
        (f"/cb#access_token={SECRET}", "/cb#access_token=[redacted:secret]"),
        ("/orders/019f3c1a-7b2e-7c3d-8e4f-0123456789ab?page=2", None),
        ("http://[::1:bad", None),
    ],
)
def test_a_url_loses_userinfo_and_secret_parameters(url: str, masked: str | None) -> None:
    """Who asks and with what credential is masked, what was asked for stays."""
    assert Redactor().url(url) == (url if masked is None else masked)


def test_locals_are_masked_by_name_and_by_value() -> None:
    """A local is masked when its name or its value looks like a secret."""
    variables = dict.fromkeys(("password", "dbPassword", "api_key", "key", "session", "authToken", "pw"), f"'{SECRET}'")
    variables |= {"url": f"'redis://:{SECRET}@h'", "config": f"{{'password': '{SECRET}'}}"}

    kept = Redactor().locals({**variables, "order": "7", "monkey": "'x'", "tokenizer": "<T>", "key_file": "'/etc/k'"})

    assert SECRET not in str(kept)
    assert set(variables) < set(kept)
    assert [kept[name] for name in ("order", "monkey", "tokenizer", "key_file")] == ["7", "'x'", "<T>", "'/etc/k'"]


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("APIKey", True),
        ("STRIPE_API_KEY", True),
        ("x-auth-token", True),
        ("dbpassword", True),
        ("monkey", False),
        ("", False),
        ("token_count", False),
        ("PWD_FILE", False),
        ("PWD", False),
        ("OLDPWD", False),
        ("DB_PWD", True),
    ],
)
def test_names_tell_secrets(name: str, secret: bool) -> None:
    """Names are read word by word, whatever their spelling."""
    assert is_secret_name(name) is secret
