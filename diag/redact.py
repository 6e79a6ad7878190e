"""The only place that decides what is secret: texts, command lines, environments, URLs and local variables pass here.

Every pattern runs in linear time, because what it reads comes from a program that may be hostile: repeats are
possessive, bounded, or anchored so that a failed attempt is not repeated at the next character. Only single characters
are repeated possessively: CPython before 3.11.5 loses the group marks of a possessive group (gh-101955).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cache, partial
from pathlib import PurePath
from urllib.parse import unquote_plus

FAILED = "[redaction failed]"

# Exact names stand as they are; a name that only a wildcard allows must not sound like a secret.
ENVIRONMENT_ALLOWED = tuple(
    """
    PATH LANG LANGUAGE LC_* TZ HOME USER LOGNAME PWD SHELL HOSTNAME TERM TMPDIR INVOCATION_ID
    PYTHON* VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV LD_PRELOAD LD_LIBRARY_PATH MALLOC_*
    OTEL_SERVICE_NAME OTEL_RESOURCE_ATTRIBUTES NODE_ENV NODE_OPTIONS NODE_VERSION UV_THREADPOOL_SIZE
    GOMAXPROCS GOGC GOMEMLIMIT GODEBUG GOTRACEBACK GOROOT GOPATH GOOS GOARCH GOFLAGS GOVERSION
    KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT POD_NAME POD_NAMESPACE POD_IP NODE_NAME
    AWS_REGION AWS_DEFAULT_REGION AWS_EXECUTION_ENV AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE FUNCTION_NAME K_SERVICE K_REVISION FC_* DIAG_*
    WEB_CONCURRENCY GUNICORN_CMD_ARGS UVICORN_* PORT HOST FLASK_APP FLASK_ENV FLASK_DEBUG
    DJANGO_SETTINGS_MODULE OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS
    """.split()  # noqa: SIM905 - a table of names reads better as words
)

_SECRET_WORDS = frozenset(
    """
    password passwords passwd passphrase passcode pass pwd pw secret secrets token tokens key apikey auth
    authorization cookie cookies session sessionid sid credential credentials creds jwt bearer otp pin cvv cvc ssn
    csrf xsrf signature sig private
    """.split()  # noqa: SIM905
)
_WORKING_DIRECTORIES = ("PWD", "OLDPWD")  # a shell's, not a password
_SECRET_INSIDE = re.compile(r"passw|passphrase|secret|credential|apikey|accesskey|privatekey|token(?!i[sz])|cookie")
_HARMLESS_ENDINGS = frozenset(
    "file path dir folder type name timeout ttl length size count limit url uri endpoint error class".split()  # noqa: SIM905
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MASKED = re.compile(r"\[redacted:[a-z-]{1,32}\]")
_AFTER_VALUE = ",;)}]"
_CLEAN_LENGTH = 256
_SHORTEST_KNOWN = 8  # a shorter value is part of too many words


def is_secret_name(name: str) -> bool:
    """Whether a variable, key or option of this name holds a secret: `dbPassword`, `API_KEY`, not `key_file`."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in _HARMLESS_ENDINGS or name in _WORKING_DIRECTORIES:
        return False
    return not _SECRET_WORDS.isdisjoint(words) or bool(_SECRET_INSIDE.search("".join(words)))


def _is_basic(text: str) -> bool:
    try:
        return b":" in base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


def _is_card(text: str) -> bool:
    """The issuer's range and the Luhn check (ISO/IEC 7812-1), so that ids and timestamps are left alone."""
    digits = [int(one) for one in text if one.isdigit()]
    if not _ISSUERS.match("".join(map(str, digits))):
        return False
    doubled = (2 * digit - 9 * (digit > 4) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


_ISSUERS = re.compile(
    r"(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|35\d{14}|6(?:011|4[4-9]\d|5\d\d)\d{12}|62\d{14,17})\Z"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Masks the group `secret` (or the group `quoted` or `bare`) of each match that `accept` takes.

    The pattern is tried only where the text holds one of the `hints`, in lower case: most texts hold none.
    """

    name: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    accept: Callable[[str], bool] = bool


def _rule(name: str, hints: str, pattern: str, accept: Callable[[str], bool] = bool) -> Rule:
    return Rule(name, tuple(hints.split()), re.compile(pattern), accept)


# A quoted value, also where the quotes themselves are escaped (JSON inside JSON); its end may have been cut off.
_QUOTED = r"(?P<quote>\\{0,4}[\"'])(?P<quoted>(?:(?!(?P=quote))(?:\\.|[^\\\r\n]))+)"
_BARE = r"(?P<bare>(?:[^\s&\"']|[\"'](?![\s,;:)}\]]|\Z))+)"
_NOT_A_SECRET = r"(?!(?:None|True|False|null|nil|true|false|undefined|str|bytes|int|bool)(?:[\s,;)}\]&]|\Z))"
_VALUE = rf"[bBuUrR]{{0,2}}(?:{_QUOTED}|(?![\\\"']){_NOT_A_SECRET}{_BARE})"
_STRONG = (
    r"passwords?|passwd|passphrase|passcode|secrets?|token|credentials?|authorization|api[_-]?key"
    r"|(?:access|private|secret|signing|encryption|account|shared|master|auth|client|service)[_-]?key"
    r"|(?-i:(?<![A-Za-z])[Pp]wd|[A-Z]_PWD)"
)
_WEAK = r"(?<![A-Za-z])auth|cookies?|session(?:[_-]?(?:id|key))?|signature|csrf|(?<![A-Za-z])sig"
_KEY_END = r"\\{0,4}[\"']"  # a quoted key, as in JSON, a dict's repr, or a list of pairs
_AUTH_WORD = r"(?:basic|bearer|token|negotiate|ntlm|apikey|bot)\s{1,4}[^\s\"']++"
_AUTH_LIST = r"(?:digest|hawk|oauth|signature|aws4-[\w-]{1,40})\s[^\r\n\"']++"

RULES = (
    _rule(
        "private-key",
        "private",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?!-----END )[\s\S])*(?:-----END [A-Z0-9 ]{0,40}(?:-----)?)?"
        r"|\A[A-Za-z0-9+/=\s]{16,}+-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    ),
    _rule(
        "authorization",
        "authorization",
        r"(?im)^[<>* \t]{0,8}(?:proxy-)?authorization[ \t]*+:[ \t]*+(?P<secret>\S[^\r\n]*+)",
    ),
    _rule(
        "authorization",
        "authorization",
        rf"(?i)(?<![A-Za-z0-9])authorization(?:{_KEY_END}\s{{0,4}}[:=,]|\s{{0,4}}[:=])\s{{0,4}}"
        rf"b?(?:{_QUOTED}|(?P<secret>{_AUTH_WORD}|{_AUTH_LIST}))",
    ),
    _rule("cookie", "cookie", r"(?im)^[<>* \t]{0,8}(?:set-)?cookie2?[ \t]*+:[ \t]*+(?P<secret>\S[^\r\n]*+)"),
    _rule(
        "cookie",
        "cookie",
        rf"(?i)cookie2?(?:{_KEY_END}\s{{0,4}}[:=,]\s{{0,4}}b?{_QUOTED}"
        r"|\s{0,4}:\s{0,4}(?P<secret>[^\s;=\"']++=[^\s;\"']*+(?:;\s?[^\s;=\"']++(?:=[^\s;\"']*+)?)*))",
    ),
    _rule(
        "url-credentials",
        "://",
        r"(?<=://)(?:(?P<secret>[^\s/?#\"'<>@:]*+:[^\s/\"'<>]*)|(?P<bare>[\w.~-]{20,}+))@",
    ),
    _rule("jwt", "eyj", r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{4,}+(?:\.[\w-]*+){0,3}"),
    _rule(
        "bearer",
        "bearer",
        r"(?i)(?<![A-Za-z])bearer\s{1,4}(?!(?:auth|token|scheme|realm|credential|format|error|required)[a-z]*+(?![\w.-]))"
        r"(?P<secret>[\w.~+/=-]{6,}+)",
    ),
    _rule("basic", "basic", r"(?i)(?<![A-Za-z])basic\s{1,4}(?P<secret>[A-Za-z0-9+/]{6,}+={0,2})", _is_basic),
    _rule("aws-key", "akia asia abia acca", r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _rule("alibaba-key", "ltai sts.", r"(?<![A-Za-z0-9])(?:LTAI[A-Za-z0-9]{12,30}+|STS\.[A-Za-z0-9]{20,}+)"),
    _rule("google-key", "aiza ya29. gocspx-", r"AIza[\w-]{35}|ya29\.[\w-]{20,}+|GOCSPX-[\w-]{20,}+"),
    _rule("github-token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"gh[pousr]_[A-Za-z0-9]{30,}+|github_pat_\w{22,}+"),
    _rule("gitlab-token", "glpat-", r"glpat-[\w-]{20,}+"),
    _rule("slack-token", "xox xapp- hooks.slack", r"xox[a-z]-[\w-]{10,}+|xapp-[\w-]{10,}+|hooks\.slack\.com/[\w/]++"),
    _rule("stripe-key", "k_live_ k_test_ whsec_", r"[srp]k_(?:live|test)_\w{10,}+|whsec_[\w+/=]{16,}+"),
    _rule(
        "service-key",
        "sk- npm_ pypi- sg. hf_",
        r"(?<![\w-])(?:sk-[\w-]{20,}+|npm_[A-Za-z0-9]{36}|pypi-[\w-]{16,}+|SG\.[\w-]{16,}+\.[\w-]{16,}+|hf_[A-Za-z0-9]{30,}+)",
    ),
    _rule(
        "secret",
        "pass secret token cred auth key pwd cookie session sig csrf",
        rf"(?i)(?:(?:{_STRONG})(?:{_KEY_END}\s{{0,4}}(?:=>|[=:,])|\s{{0,4}}(?:=>|=(?!=)))"
        # In `/run/secrets/db: No such file` the colon ends a path.
        rf"|(?<![\w./-])[\w.-]{{0,60}}?(?:{_STRONG})\s{{0,4}}:"
        rf"|(?:{_WEAK})(?:{_KEY_END}\s{{0,4}}[=:,]|\s{{0,4}}=(?!=)))\s{{0,4}}{_VALUE}",
    ),
    _rule(
        "secret",
        "--",
        rf"(?i)(?<!\S)--(?:[a-z0-9]{{1,30}}+[_-]){{0,5}}(?:{_STRONG})\s{{1,4}}(?!-)[\"']?{_BARE}",
    ),
    _rule(
        "card-number",
        "",
        r"(?<![\w.+-])(?:\d[ -]?){12,18}\d(?![\w-]|\.\d)",
        _is_card,
    ),
)


@cache
def _any_of(wildcards: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, wildcards)))


_HINTS = tuple(sorted({hint for rule in RULES for hint in rule.hints}))


def suspects(text: str) -> list[int]:
    """Where in the text a rule could find something, in order: lines that hold no such place need no second look.

    Much cheaper than `Redactor.text`, for texts that have passed that once.
    """
    found = [
        match.start()
        for rule in RULES
        if not rule.hints
        for match in rule.pattern.finditer(text)
        if rule.accept(match[0])
    ]
    lowered = text.lower()
    if len(lowered) != len(text):  # one of the few letters whose lower case is longer
        lowered = "".join(one.lower() if len(one.lower()) == 1 else one for one in text)
    for hint in _HINTS:
        at = lowered.find(hint)
        while at >= 0:
            found.append(at)
            at = lowered.find(hint, at + 1)
    return sorted(found)


_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|[\]PX^_][^\x07\x1b]*+(?:\x07|\x1b\\)?|[ -/]*+[0-~])"
    r"|[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]"
)


def unstyled(text: str) -> str:
    """What a reader of a terminal sees: no colours, no movements, and nothing that was deleted again."""
    kept: list[str] = []
    for character in _ESCAPE.sub("", text):
        if character != "\b":
            kept.append(character)
        elif kept and kept[-1] not in "\r\n":
            kept.pop()
    return "".join(kept)


class Redactor:
    """Masks secrets and counts what it masked. One per report: the counts go into its `redactions`.

    `environment_allow` are more names than the built-in allow-list, `*` allowed; one text may hold several with commas.
    `environment` is one whose secret values are masked wherever they stand, though nothing else may give them away.
    """

    def __init__(
        self, environment_allow: str | Iterable[str] = (), *, environment: Mapping[str, str] | None = None
    ) -> None:
        words = environment_allow.split(",") if isinstance(environment_allow, str) else environment_allow
        asked = [word.strip() for word in words if word.strip()]
        self._named = frozenset(word for word in asked if "*" not in word)
        patterns = [*ENVIRONMENT_ALLOWED, *asked]
        self._exact = frozenset(word for word in patterns if "*" not in word)
        self._wild = _any_of(tuple(word for word in patterns if "*" in word))
        values = {v for k, v in (environment or {}).items() if is_secret_name(k) and len(v) >= _SHORTEST_KNOWN}
        self._known = re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True)))) if values else None
        self._counts: Counter[str] = Counter()
        self._clean: set[str] = set()

    def text(self, text: str) -> str:
        """The text with `[redacted:<rule>]` for each secret in it. Doing it again changes nothing."""
        if text in self._clean:  # the same files and functions come up in every stack
            return text
        scrubbed = self._guarded(self._scrub, text)
        if scrubbed == text and len(text) <= _CLEAN_LENGTH:
            self._clean.add(text)
        return scrubbed

    def argv(self, words: Sequence[str]) -> list[str]:
        """The command line with the values of secret options masked."""
        program = PurePath(words[0]).name if words else ""
        cleaned: list[str] = []
        before = ""
        for word in words:
            cleaned.append(self._guarded(partial(self._argument, program, before), word))
            before = word
        return cleaned

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The allowed variables with their values scrubbed; what is not allowed is left out and counted."""
        kept: dict[str, str] = {}
        for name, value in variables.items():
            if name in self._named and is_secret_name(name):
                kept[name] = self._mask("secret", value)
            elif name in self._exact or (self._wild.match(name) and not is_secret_name(name)):
                kept[name] = self.text(value)
            else:
                self._counts["environment"] += 1
        return kept

    def url(self, url: str) -> str:
        """The URL or path without userinfo and without the values of secret query parameters."""
        return self._guarded(lambda one: self._scrub(self._address(one)), url)

    def locals(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The variables, masked by name (`password`, `api_key`, `session`, …) and by what their values look like."""
        return {
            name: self._mask("secret", value) if is_secret_name(name) else self.text(value)
            for name, value in variables.items()
        }

    def counts(self) -> tuple[dict[str, int | str], ...]:
        """What was masked or left out so far, for `redactions`: `{"rule": str, "count": int}`."""
        return tuple({"rule": rule, "count": count} for rule, count in sorted(self._counts.items()))

    def _guarded(self, scrub: Callable[[str], str], value: str) -> str:
        try:
            return scrub(value)
        except Exception:  # noqa: BLE001 - whatever a scrubber trips over, the field it could not read must not go out
            self._counts["failed"] += 1
            return FAILED

    def _scrub(self, text: str) -> str:
        if self._known:
            text = self._known.sub(lambda match: self._mask("environment-value", match[0]), text)
        lowered = text.lower()
        for rule in RULES:
            if any(hint in lowered for hint in rule.hints) or not rule.hints:
                text = rule.pattern.sub(partial(self._replace, rule), text)
        return text

    def _replace(self, rule: Rule, match: re.Match[str]) -> str:
        whole = match[0]
        group = next((name for name in ("secret", "quoted", "bare") if match.groupdict().get(name)), 0)
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        kept = len(whole[start:end].rstrip(_AFTER_VALUE)) if group == "bare" else end - start
        secret = whole[start : start + kept] or whole[start:end]
        masked = _MASKED.match(whole, start)
        if (masked and not whole[masked.end() : end].strip(_AFTER_VALUE)) or not rule.accept(secret):
            return whole
        return whole[:start] + self._mask(rule.name, secret) + whole[start + len(secret) :]

    def _mask(self, rule: str, value: str) -> str:
        if _MASKED.fullmatch(value):
            return value
        self._counts[rule] += 1
        return f"[redacted:{rule}]"

    def _argument(self, program: str, before: str, word: str) -> str:
        name, equals, value = word.partition("=")
        if equals and _OPTION.fullmatch(name) and is_secret_name(name):
            return f"{name}={self._mask('secret', value)}"
        if equals and name == "-p" and not value.isdigit():
            return f"-p={self._mask('secret', value)}"
        if program in _ATTACHED_PASSWORD and word.startswith("-p") and len(word) > 2:
            return f"-p{self._mask('secret', word[2:])}"
        secret = before.startswith("--") and "=" not in before and is_secret_name(before)
        secret = secret or (before == "-p" and program == "sshpass")
        secret = secret or (before in ("-u", "--user") and program in ("curl", "wget") and ":" in word)
        return self._mask("secret", word) if secret and not word.startswith("--") else self._scrub(word)

    def _address(self, url: str) -> str:
        url = _USERINFO.sub(lambda match: self._mask("url-credentials", match[0]), url)
        return _PARAMETER.sub(self._parameter, url)

    def _parameter(self, match: re.Match[str]) -> str:
        secret = is_secret_name(unquote_plus(match[1])) and match[2]
        return f"{match[1]}={self._mask('secret', match[2])}" if secret else match[0]


_OPTION = re.compile(r"-{0,2}[A-Za-z_][\w.-]*+")
_ATTACHED_PASSWORD = frozenset(("mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "sshpass"))
_USERINFO = re.compile(r"(?<=//)[^/?#\s]*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&;#\s]++)=([^&;#\s]*+)")
