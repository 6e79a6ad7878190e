"""Captures come in over HTTP: whole, checked, once."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import deaths
import pytest
import requests
from machine import TIMEOUT_S
from viewers import Running

from diag.model import Artifact


def raw(viewer: Running, head: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    """A request as its bytes are; returns the status and the JSON answer."""
    address = urlsplit(viewer.url)
    with socket.create_connection((address.hostname, address.port), TIMEOUT_S) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, json.loads(answer.read() or b"{}")


def failure(answer: requests.Response) -> str:
    document = answer.json()
    assert set(document) == {"error", "help"}
    assert document["error"].endswith((".", "!")) and document["help"]
    return str(document["error"])


def test_a_delivered_capture_is_listed_at_once(viewer: Running) -> None:
    """Artifacts first, manifest last: then the capture is in the list, its report byte for byte."""
    made = deaths.made(deaths.segfault())

    assert viewer.deliver(made) == [201, 201]

    (listed,) = viewer.get("api/v1/captures").json()["captures"]
    assert listed == made.capture.to_json()
    assert viewer.get(f"api/v1/captures/{made.id}/report").content == next(iter(made.files.values()))


def test_a_second_delivery_is_200_and_one_row(viewer: Running) -> None:
    """The same bytes again change nothing."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)

    assert viewer.deliver(made) == [200, 200]
    assert len(viewer.get("api/v1/captures").json()["captures"]) == 1


def test_other_bytes_are_refused(viewer: Running) -> None:
    """Objects are immutable: other bytes, of the same or another length, are a conflict and are not kept."""
    made = deaths.made(deaths.segfault())
    name, data = next(iter(made.files.items()))
    viewer.deliver(made)

    for other in (data[:-1] + b" ", data + b" "):
        answer = viewer.put(made.key(name), other)
        assert answer.status_code == 409
        assert failure(answer)
    assert viewer.get(f"api/v1/objects/{made.key(name)}").content == data


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(viewer: Running) -> None:
    """Bytes that are not what was announced are never stored."""
    made = deaths.made(deaths.segfault())
    name, data = next(iter(made.files.items()))

    for sha256 in ("0" * 64, "not hex", ""):
        answer = viewer.put(made.key(name), data, sha256=sha256)
        assert answer.status_code == 422
        assert "SHA" in failure(answer) or "Sha" in failure(answer)
    assert viewer.ask("HEAD", f"api/v1/objects/{made.key(name)}").status_code == 404


def test_a_cut_upload_is_refused(viewer: Running) -> None:
    """A body that ends early is told from a whole one."""
    key = deaths.made(deaths.segfault()).key("x.json")

    status, document = raw(
        viewer,
        f"PUT /api/v1/objects/{key} HTTP/1.1\nHost: localhost\nContent-Length: 100\nX-Diag-Sha256: {'0' * 64}",
        b"only this",
    )

    assert status == 422
    assert "9 of 100 bytes" in document["error"]


def test_an_upload_without_length_is_refused(viewer: Running) -> None:
    """Chunked uploads have no length that could be checked against a limit: 411."""
    key = deaths.made(deaths.segfault()).key("x.json")
    chunks = (part for part in (b"a", b"b"))

    answer = viewer.ask("PUT", f"api/v1/objects/{key}", data=chunks, headers={"X-Diag-Sha256": "0" * 64})

    assert answer.status_code == 411
    assert "how long" in failure(answer)


@pytest.mark.parametrize(("name", "length"), [("manifest.json", 5 * 2**20), ("core.bin", 2**30 + 1)])
def test_too_much_is_refused_before_it_is_read(viewer: Running, name: str, length: int) -> None:
    """A manifest over 4 MiB and an artifact over 1 GiB are refused by their announced length."""
    key = deaths.made(deaths.segfault()).key(name)

    status, document = raw(
        viewer,
        f"PUT /api/v1/objects/{key} HTTP/1.1\nHost: localhost\nContent-Length: {length}\nX-Diag-Sha256: {'0' * 64}",
    )

    assert status == 413
    assert str(length) in document["error"]


def test_a_large_body_that_is_refused_still_gets_its_answer(viewer: Running) -> None:
    """A sender that pushes megabytes into a refusal reads the sentence, not a broken connection."""
    answer = viewer.put(deaths.made(deaths.segfault()).key(), b"x" * (6 * 2**20))

    assert answer.status_code == 413
    assert failure(answer)


def kept(folder: Path) -> list[Path]:
    """Every file below, without those that SQLite has beside a database while it is open."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))


@pytest.mark.parametrize(
    "key",
    [
        "v1/default/2025/01/01/00/x/manifest.json",
        "v1/default/../../etc/passwd",
        "v1/default/2025/01/01/00/{id}/..",
        "{prefix}/..%2f..%2fetc",
        "{prefix}/.hidden",
        "{prefix}/a b",
        "{prefix}/a%00b",
        "{prefix}//x",
        "%2e%2e/%2e%2e/etc/passwd",
        "v2/default/2025/01/01/00/{id}/x",
    ],
)
def test_odd_keys_are_refused(viewer: Running, key: str) -> None:
    """A key is `v1/<tenant>/<hour>/<id>/<name>` or it is refused with a sentence; nothing is written anywhere."""
    made = deaths.made(deaths.segfault())
    path = key.format(id=made.id, prefix=made.key("x").rpartition("/")[0])
    before = kept(viewer.store.parent)

    for method in ("PUT", "GET", "DELETE"):
        status, document = raw(
            viewer,
            f"{method} /api/v1/objects/{path.replace(' ', '%20')} HTTP/1.1\nHost: localhost\nContent-Length: 1\n"
            f"X-Diag-Sha256: {'0' * 64}",
            b"x",
        )
        assert status == 422, method
        assert "is no key" in document["error"]
    assert kept(viewer.store.parent) == before


def test_another_tenant_is_refused(viewer: Running) -> None:
    """A capture that this viewer would never show is refused where it can still be corrected."""
    made = deaths.made(deaths.segfault())

    answer = viewer.put(made.key("x.json", tenant="other"), b"{}")

    assert answer.status_code == 422
    assert "tenant 'default'" in failure(answer)


def test_a_manifest_before_its_artifacts_is_refused(viewer: Running) -> None:
    """A manifest that names what is not there is refused, and the capture does not exist."""
    made = deaths.made(deaths.segfault())

    answer = viewer.put(made.key(), made.manifest)

    assert answer.status_code == 422
    assert "has not been uploaded" in failure(answer)
    assert viewer.get("api/v1/captures").json()["captures"] == []


@pytest.mark.parametrize("field", ["size_bytes", "sha256"])
def test_a_manifest_that_does_not_fit_its_artifacts_is_refused(viewer: Running, field: str) -> None:
    """Size and checksum in the manifest are those of the stored bytes."""
    made = deaths.made(deaths.segfault())
    name, data = next(iter(made.files.items()))
    viewer.put(made.key(name), data)
    wrong: dict[str, object] = {"size_bytes": len(data) + 1, "sha256": "0" * 64}
    artifact: Artifact = replace(made.capture.artifacts[0], **{field: wrong[field]})  # type: ignore[arg-type]

    answer = viewer.put(made.key(), made.with_manifest(artifacts=(artifact,)).manifest)

    assert answer.status_code == 422
    assert name in failure(answer)


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[1]", b"not json", b'{"capture_id": "x"}', b"[" * 50_000])
def test_what_is_no_manifest_is_refused(viewer: Running, manifest: bytes) -> None:
    """Bytes under a manifest's key that are no manifest are refused with a sentence."""
    answer = viewer.put(deaths.made(deaths.segfault()).key(), manifest)

    assert answer.status_code == 422
    assert "manifest" in failure(answer)


def test_a_manifest_under_another_captures_key_is_refused(viewer: Running) -> None:
    """The key and the manifest agree on the id."""
    one, other = deaths.made(deaths.segfault()), deaths.made(deaths.segfault())

    answer = viewer.put(other.key(), one.manifest)

    assert answer.status_code == 422
    assert other.id in failure(answer)


def test_objects_are_downloads(viewer: Running) -> None:
    """Whatever was uploaded is sent as a file to save, with no type that a browser would run."""
    made = deaths.made(deaths.segfault())
    html = b"<script>alert(1)</script>"
    viewer.put(made.key("page.html"), html)

    answer = viewer.get(f"api/v1/objects/{made.key('page.html')}")
    head = viewer.ask("HEAD", f"api/v1/objects/{made.key('page.html')}")

    assert answer.content == html
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment; filename=page.html"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(html)), b"")


def test_listings_continue_and_show_folders(viewer: Running) -> None:
    """Objects come in key order, page by page; with a delimiter the folders come instead."""
    made = [deaths.made(deaths.killed()) for _ in range(3)]
    for one in made:
        viewer.deliver(one)
    expected = sorted(one.key(name) for one in made for name in (*one.files, "manifest.json"))

    listed, start = [], ""
    while True:
        page = viewer.get(f"api/v1/objects?prefix=v1/default/&limit=4&start_after={start}").json()
        listed += [one["key"] for one in page["objects"]]
        start = page["next"]
        if start is None:
            break

    folders = viewer.get(
        f"api/v1/objects?prefix={made[0].key().rpartition('/')[0].rpartition('/')[0]}/&delimiter=/"
    ).json()
    assert listed == expected
    assert {folder.rstrip("/").rpartition("/")[2] for folder in folders["folders"]} >= {made[0].id}
    assert viewer.get("api/v1/objects?prefix=v1/&delimiter=/").json() == {"folders": ["default/"]}
    assert viewer.get("api/v1/objects?prefix=v1/other/").status_code == 400


def test_a_deleted_manifest_takes_the_capture_with_it(viewer: Running) -> None:
    """Deleting is final for the list and the page, and deleting again does nothing."""
    made = deaths.made(deaths.segfault())
    viewer.deliver(made)

    statuses = [viewer.ask("DELETE", f"api/v1/objects/{made.key()}").status_code for _ in range(2)]

    assert statuses == [204, 204]
    assert viewer.get(f"captures/{made.id}").status_code == 404
    assert viewer.get("api/v1/captures").json()["captures"] == []
