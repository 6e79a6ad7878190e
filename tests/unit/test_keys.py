"""Keys and names: data from outside that never becomes a path, and order by time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from diag.model import moment_of, new_capture_id, valid_id, valid_name
from diag.upload import keys

ID = "019f3c1a-7b2e-7c3d-8e4f-0123456789ab"


def test_a_key_carries_tenant_hour_id_and_name() -> None:
    """The folder of a capture follows from its id alone."""
    moment = moment_of(ID)

    assert keys.key("default", ID, "report.json") == f"v1/default/{moment:%Y/%m/%d/%H}/{ID}/report.json"
    assert keys.parse(keys.key("a-b", ID, "report.json")) == ("a-b", ID, "report.json")


def test_ids_sort_by_time() -> None:
    """A reader that lists in key order reads in time order."""
    start = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    made = [new_capture_id(start + timedelta(seconds=seconds)) for seconds in (0, 1, 3600, 86400 * 400)]

    assert made == sorted(made)
    assert [keys.prefix("t", one) for one in made] == sorted(keys.prefix("t", one) for one in made)
    assert all(valid_id(one) for one in made)
    assert moment_of(made[0]) == start


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"v1/default/2026/01/01/00/{ID}/report.json",
        f"v2/default/{moment_of(ID):%Y/%m/%d/%H}/{ID}/report.json",
        f"v1/default/{moment_of(ID):%Y/%m/%d/%H}/{ID}/../report.json",
        f"v1/default/{moment_of(ID):%Y/%m/%d/%H}/{ID}/",
        f"v1/../{moment_of(ID):%Y/%m/%d/%H}/{ID}/report.json",
        f"v1/Default/{moment_of(ID):%Y/%m/%d/%H}/{ID}/report.json",
        f"/v1/default/{moment_of(ID):%Y/%m/%d/%H}/{ID}/report.json",
        f"v1/default/{moment_of(ID):%Y/%m/%d/%H}/{ID.upper()}/report.json",
        "v1/default/9999/12/31/23/ffffffff-ffff-7fff-bfff-ffffffffffff/report.json",
        "v1/default/1970/01/01/00/00000000-0000-4000-8000-000000000000/report.json",
    ],
)
def test_what_is_no_key_is_none(text: str) -> None:
    """Anything that is not exactly a key of ours is refused, and nothing raises."""
    assert keys.parse(text) is None


def test_keys_of_accounts_are_exact() -> None:
    """Anything that is not exactly an account's key is none, and none is a capture's."""
    agent, account = new_capture_id(), new_capture_id()
    key = keys.account_key("default", agent, account)

    assert key == f"v1/default/agents/{agent}/{account}.json"
    assert keys.parse_account(key) == ("default", agent, account)
    assert keys.parse(key) is None
    for wrong in (key[:-5], f"/{key}", key + "/", key.replace("default", ".."), key.replace("agents", "agent"), ""):
        assert keys.parse_account(wrong) is None


def test_a_note_stands_beside_the_years() -> None:
    """Its key names tenant, kind and capture, and is no key of a capture's object."""
    for kind in (keys.PINS, keys.DELETED):
        key = keys.note("a-b", kind, ID)
        assert key == f"v1/a-b/{kind}/{ID}.json"
        assert keys.parse_note(key) == ("a-b", kind, ID)
        assert keys.parse(key) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"v1/default/other/{ID}.json",
        f"v1/default/pins/{ID}",
        f"v1/default/pins/{ID}.txt",
        f"v1/default/pins/{ID.upper()}.json",
        f"v1/default/pins/x/{ID}.json",
        f"v2/default/pins/{ID}.json",
        f"v1/../pins/{ID}.json",
        keys.key("default", ID, "report.json"),
    ],
)
def test_what_is_no_note_is_none(text: str) -> None:
    """Anything that is not exactly a note's key is refused."""
    assert keys.parse_note(text) is None


@pytest.mark.parametrize("name", ["report.20261120.120000.1.2.001.json", "cpu.pb.gz", "a", "_x", "a+b=c@d", "x" * 200])
def test_file_names_of_tools_are_names(name: str) -> None:
    """Names that tools give their files are taken."""
    assert valid_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", ".hidden", "a..b", "-o", "a b", "a\n", "é", "x" * 201, "a\0"]
)
def test_names_that_are_more_than_a_name_are_not(name: str) -> None:
    """Paths, options, hidden files and control characters are no names."""
    assert not valid_name(name)


@pytest.mark.parametrize(
    ("tenant", "good"), [("default", True), ("a-b_1", True), ("", False), ("A", False), ("..", False)]
)
def test_tenants_are_plain(tenant: str, good: bool) -> None:
    """A tenant is one lower-case part of a key."""
    assert keys.valid_tenant(tenant) is good
