"""Where captures and accounts stand in a store: time-ordered keys, so that news is found by listing hours."""

from __future__ import annotations

from diag.model import MANIFEST, moment_of, valid_id, valid_name, valid_tenant

__all__ = [
    "DELETED",
    "MANIFEST",
    "PINS",
    "account_key",
    "accounts_prefix",
    "key",
    "moment_of",
    "note",
    "notes",
    "parse",
    "parse_account",
    "parse_note",
    "prefix",
    "valid_id",
    "valid_name",
    "valid_tenant",
]

# Notes about captures. They stand beside the years, so that no reader of captures comes across them.
PINS, DELETED = "pins", "deleted"

_JSON = ".json"


def prefix(tenant: str, capture_id: str) -> str:
    """`v1/<tenant>/<yyyy>/<mm>/<dd>/<hh>/<capture_id>/`; derived from the id alone, so no look-up is needed."""
    return f"v1/{tenant}/{moment_of(capture_id):%Y/%m/%d/%H}/{capture_id}/"


def key(tenant: str, capture_id: str, name: str) -> str:
    """The key of one of a capture's objects."""
    return prefix(tenant, capture_id) + name


def parse(text: str) -> tuple[str, str, str] | None:
    """(tenant, capture_id, name) of a well-formed key, or None: keys are data from outside."""
    parts = text.split("/")
    if len(parts) != 8 or parts[0] != "v1":
        return None
    tenant, capture_id, name = parts[1], parts[6], parts[7]
    if not (valid_tenant(tenant) and valid_id(capture_id) and valid_name(name)):
        return None
    return (tenant, capture_id, name) if key(tenant, capture_id, name) == text else None


def accounts_prefix(tenant: str) -> str:
    """`v1/<tenant>/agents/`: what agents tell about their spools. No hour is called that."""
    return f"v1/{tenant}/agents/"


def account_key(tenant: str, agent_id: str, account_id: str) -> str:
    """`v1/<tenant>/agents/<agent_id>/<account_id>.json`: objects are never replaced, so the last one counts."""
    return f"{accounts_prefix(tenant)}{agent_id}/{account_id}{_JSON}"


def parse_account(text: str) -> tuple[str, str, str] | None:
    """(tenant, agent_id, account_id) of an account's well-formed key, or None."""
    parts = text.split("/")
    if len(parts) != 5 or not valid_tenant(parts[1]):
        return None
    tenant, agent_id, account_id = parts[1], parts[3], parts[4].removesuffix(_JSON)
    if not (valid_id(agent_id) and valid_id(account_id)):
        return None
    return (tenant, agent_id, account_id) if account_key(tenant, agent_id, account_id) == text else None


def notes(tenant: str, kind: str) -> str:
    """The prefix of all notes of a kind: PINS or DELETED."""
    return f"v1/{tenant}/{kind}/"


def note(tenant: str, kind: str, capture_id: str) -> str:
    """The key of a note about a capture."""
    return f"{notes(tenant, kind)}{capture_id}{_JSON}"


def parse_note(text: str) -> tuple[str, str, str] | None:
    """(tenant, kind, capture_id) of a note's well-formed key, or None."""
    parts = text.split("/")
    if len(parts) != 4 or not valid_tenant(parts[1]) or parts[2] not in (PINS, DELETED):
        return None
    tenant, kind, capture_id = parts[1], parts[2], parts[3].removesuffix(_JSON)
    return (tenant, kind, capture_id) if valid_id(capture_id) and note(tenant, kind, capture_id) == text else None
