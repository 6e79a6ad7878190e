"""The OpenAPI document: every route, with the role it needs."""

from __future__ import annotations

import re
from typing import Any

from diag import __version__

Operation = dict[str, Any]

FILTERS = {
    "kind": "crash, event, report, …",
    "level": "FULL, NATIVE, OUTSIDE or EVENT",
    "instance": "an instance's id or name",
    "service": "a service",
    "request": "a request id",
    "trace": "a trace id",
    "fingerprint": "a group",
    "since": "30m, 24h or 7d ago, or an ISO 8601 time",
    "until": "the same; captures before it",
    "q": "words that all occur in title, verdict, exception, frames, paths or ids",
}
AGENTS = {"q": "words that all occur in host, id, version, reasons or trouble", "only": "`trouble`"}
PAGING = {"limit": "how many rows", "cursor": "`next` of the page before"}
LISTING = {
    "prefix": "keys that start with this",
    "start_after": "keys that sort after this",
    "delimiter": "`/` lists folders",
    "limit": "at most 1000",
}

HELD = {"held": "1: tell in X-Diag-Held why the store has to keep it, empty where it has not"}


def document() -> dict[str, Any]:
    """The API, described as OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "diag viewer",
            "version": __version__,
            "description": "Captures of instances that died. Without a tokens file no token is needed on loopback.",
        },
        "security": [{"token": []}],
        "paths": {path: _path(path, methods) for path, methods in (_api() | _pages()).items()},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _api() -> dict[str, dict[str, Operation]]:
    return {
        "/healthz": {"get": _operation("Whether the viewer and its index answer", None)},
        "/api/v1/whoami": {"get": _operation("Who the viewer takes you for", "any", schema="Identity")},
        "/api/v1/openapi.json": {"get": _operation("This document", "viewer")},
        "/api/v1/captures": {
            "get": _operation("Captures, newest first", "viewer", FILTERS | PAGING, schema="Captures"),
        },
        "/api/v1/captures/{capture_id}": {"get": _operation("A capture's manifest", "viewer", schema="Capture")},
        "/api/v1/captures/{capture_id}/uploads": {
            "post": _operation("Whether artifacts are stored, and signed requests that store them", "agent"),
        },
        "/api/v1/captures/{capture_id}/report": {"get": _operation("A capture's report", "viewer")},
        "/api/v1/groups": {
            "get": _operation("Fingerprints, seen last first", "viewer", FILTERS | {"limit": PAGING["limit"]}),
        },
        "/api/v1/groups/{fingerprint}": {"get": _operation("One fingerprint", "viewer")},
        "/api/v1/instances": {
            "get": _operation("Instances, heard of last first", "viewer", FILTERS | {"limit": PAGING["limit"]}),
        },
        "/api/v1/agents": {
            "get": _operation("Agents and the accounts of their spools", "viewer", AGENTS | {"limit": PAGING["limit"]}),
        },
        "/api/v1/requests/{request_id}": {
            "get": _operation("Captures linked to a request", "viewer", PAGING, schema="Captures"),
        },
        "/api/v1/traces/{trace_id}": {
            "get": _operation("Captures linked to a trace", "viewer", PAGING, schema="Captures"),
        },
        "/api/v1/objects": {"get": _operation("Objects or folders under a prefix", "viewer", LISTING)},
        "/api/v1/objects/{key}": {
            "get": _operation(
                "An object's bytes, as a download", "viewer", {"streamed": "`1` for no redirect to a bucket"}
            ),
            "head": _operation("Whether an object is there, and its size", "agent or viewer", HELD),
            "put": _upload("Store an object; artifacts first, manifest.json last"),
            "delete": _operation("Remove an object; 423 where the store has to keep it", "admin", status="204"),
        },
        "/api/v1/objects/v1/{tenant}/agents/{agent_id}/{name}": {
            "put": _upload("Store an agent's account of its spool"),
            "delete": _operation("Remove an account", "agent", status="204"),
        },
        "/api/v1/objects/v1/{tenant}/pins/{name}": _note("Pin of a capture", "operator"),
        "/api/v1/objects/v1/{tenant}/deleted/{name}": _note("Tombstone of a capture that is being removed", "admin"),
        "/metrics": {"get": _operation("Agents and viewer in Prometheus' text format", "viewer")},
    }


def _note(what: str, role: str) -> dict[str, Operation]:
    return {
        "get": _operation(f"{what}, as a download", "viewer"),
        "put": _upload(f"{what}: store it", role),
        "delete": _operation(f"{what}: remove it", role, status="204"),
    }


def _pages() -> dict[str, dict[str, Operation]]:
    pages = {
        "/": "Overview: what died, how often",
        "/fragments/overview": "The part of the overview that changes",
        "/groups/{fingerprint}": "One fingerprint",
        "/captures/{capture_id}": "One capture",
        "/captures/{capture_id}/artifacts/{name}": "One file of a capture, as a download",
        "/captures/{capture_id}/report.html": "A report as one HTML file, as a download",
        "/captures/{capture_id}/flamegraph": "A profile's flame graph, in the whole window",
        "/captures/{capture_id}/profile.{form}": "A profile as a download: pb.gz, speedscope.json, collapsed.txt, html",
        "/diff": "What changed from the capture `a` to the capture `b`",
        "/agents": "The agents that deliver, and where their captures are",
        "/instances": "All instances",
        "/instances/{instance_id}": "One instance",
        "/requests/{request_id}": "One request",
        "/traces/{trace_id}": "One trace",
    }
    return {path: {"get": _operation(f"Page. {summary}", "viewer")} for path, summary in pages.items()} | {
        "/login": {
            "get": _operation("Page. Asks for a token", None),
            "post": _operation("Log in; a form with its csrf value", None, status="302"),
        },
        "/captures/{capture_id}/pin": {
            "post": _operation("Pin a capture; a form with its csrf value", "operator", status="302")
        },
        "/captures/{capture_id}/unpin": {
            "post": _operation("Unpin a capture; a form with its csrf value", "operator", status="302")
        },
        "/logout": {"post": _operation("Log out; a form with its csrf value", None, status="302")},
    }


def _operation(
    summary: str, role: str | None, query: dict[str, str] | None = None, *, schema: str = "", status: str = "200"
) -> Operation:
    content = {"content": _json(schema)} if schema else {}
    operation: Operation = {
        "summary": summary,
        "x-role": role or "anybody",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string"}, "description": text}
            for name, text in (query or {}).items()
        ],
        "responses": {status: {"description": "Done", **content}, "default": _failure("Not done: why, and what to do")},
    }
    return operation if role else {**operation, "security": []}


def _upload(summary: str, role: str = "agent") -> Operation:
    refusals = {
        "401": "No token, or an unknown one",
        "403": "The role is too small",
        "409": "Other bytes are there already",
        "411": "No Content-Length",
        "413": "Too large",
        "422": "Wrong key, size or checksum, a manifest that does not fit its artifacts, or no account",
        "507": "The disk is full",
    }
    header = {
        "name": "X-Diag-Sha256",
        "in": "header",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    return {
        "summary": summary,
        "x-role": role,
        "parameters": [header],
        "requestBody": {"required": True, "content": {"application/octet-stream": {}}},
        "responses": {
            "201": {"description": "Stored"},
            "200": {"description": "The same bytes were there already"},
            **{status: _failure(text) for status, text in refusals.items()},
        },
    }


def _path(path: str, methods: dict[str, Operation]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    if not names:
        return dict(methods)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return {"parameters": parameters, **methods}


def _failure(description: str) -> dict[str, Any]:
    return {"description": description, "content": _json("Failure")}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _schemas() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "Failure": {"type": "object", "required": ["error", "help"], "properties": {"error": text, "help": text}},
        "Identity": {
            "type": "object",
            "properties": dict.fromkeys(("app", "role", "version", "tenant", "uploads"), text),
        },
        "Capture": {
            "type": "object",
            "description": "manifest.json",
            "required": ["schema", "capture_id", "kind", "trigger", "time", "instance", "links", "artifacts", "cost"],
        },
        "Captures": {
            "type": "object",
            "required": ["captures", "next"],
            "properties": {
                "captures": {"type": "array", "items": {"$ref": "#/components/schemas/Capture"}},
                "next": {"type": ["string", "null"]},
            },
        },
    }
