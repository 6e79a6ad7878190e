"""Where every capture of every agent is: the same in `diag flush`, on the page, in the API and in the metrics."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import told
from machine import TIMEOUT_S
from ports import reserved_port
from prometheus_client.parser import text_string_to_metric_families
from spooled import MIB, put_capture
from viewers import Running, running

from diag.model import new_capture_id, now
from diag.spool import Spool
from diag.upload import keys
from diag.upload.accounts import tell
from diag.upload.stores import open_store
from diag.upload.uploader import drain

NUMBERS = ("received", "stored", "pending", "quarantined")
DIES = "raise ValueError('no such item')"
# The program kills its agent, once that has said whom it watches, and then itself.
KILLS = """
import os, pathlib, signal, time
told = pathlib.Path(os.environ["DIAG_PROBE_SOCKET"]).parent / "instance.json"
while not told.exists():
    time.sleep(0.01)
os.kill(os.getppid(), signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


class AgentMachine:
    """A spool and run folder of its own, from which `diag` delivers to one store."""

    def __init__(self, home: Path, name: str, store: str) -> None:
        self.spool = home / name / "spool"
        self.environ = {
            **os.environ,
            "DIAG_STORE": store,
            "DIAG_SPOOL": str(self.spool),
            "DIAG_RUN_DIR": str(home / name / "run"),
        }

    def diag(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `diag` command to its end."""
        command = [sys.executable, "-m", "diag", *arguments]
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=TIMEOUT_S * 2, check=False
        )

    def crash(self, program: str = DIES) -> int:
        """Run a program that dies."""
        return self.diag("run", "--name", "shop", "--", sys.executable, "-c", program).returncode

    def flush(self) -> dict[str, Any]:
        """The account that `diag flush` gives; it may take a while until other processes have let go."""
        ends = time.monotonic() + TIMEOUT_S * 2
        while (answer := self.diag("flush", "--json")).returncode:
            assert time.monotonic() < ends, answer.stderr
        found = json.loads(answer.stdout)
        return {name: found[name] for name in (*NUMBERS, "dropped")}

    @property
    def agent_id(self) -> str:
        """The id in the spool."""
        return (self.spool / "agent").read_text().strip()


def api(viewer: Running, token: str = "") -> dict[str, dict[str, Any]]:
    """The agents by id, as the API gives them."""
    return {one["agent_id"]: one for one in viewer.get("api/v1/agents", token).json()["agents"]}


def metrics(viewer: Running, token: str = "") -> dict[tuple[str, str], dict[str, float]]:
    """(metric, agent) to value by reason, as Prometheus' parser reads them."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for family in text_string_to_metric_families(viewer.get("metrics", token).text):
        for sample in family.samples:
            by_reason = found.setdefault((sample.name, sample.labels.get("agent", "")), {})
            by_reason[sample.labels.get("reason", "")] = sample.value
    return found


def page_row(viewer: Running, agent_id: str) -> dict[str, str]:
    """What the page says of an agent, by column."""
    (row,) = re.findall(rf'<tr[^>]*data-key="{agent_id}">(.*?)</tr>', viewer.get("agents").text, re.DOTALL)
    cells = re.findall(r'<td[^>]*data-label="([^"]+)"[^>]*>(.*?)</td>', row, re.DOTALL)
    return {name: " ".join(re.sub(r"<[^>]+>", " ", cell).split()) for name, cell in cells}


def shown_everywhere(viewer: Running, machine: AgentMachine, account: dict[str, Any]) -> None:
    """Assert that page, API and metrics say of this machine what its own account says, and that it adds up."""
    lost = sum(account["dropped"].values())
    assert account["received"] == account["stored"] + account["pending"] + account["quarantined"] + lost
    row = api(viewer)[machine.agent_id]
    assert {name: row[name] for name in account} == account
    assert row["holds"] is True
    page = page_row(viewer, machine.agent_id)
    assert [page[name.title()] for name in NUMBERS] == [str(account[name]) for name in NUMBERS]
    assert page["Dropped"].split()[0] == str(lost)
    scraped = metrics(viewer)
    suffixes = {"received": "_total", "stored": "_total", "pending": "", "quarantined": ""}
    for name, suffix in suffixes.items():
        assert scraped[f"diag_agent_captures_{name}{suffix}", machine.agent_id][""] == account[name], name
    dropped = scraped.get(("diag_agent_captures_dropped_total", machine.agent_id), {})
    assert dropped == account["dropped"]


@pytest.fixture
def port() -> Iterator[int]:
    """A port that nobody listens on, until a viewer does."""
    with reserved_port() as port:
        yield port


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_every_capture_of_every_agent_is_accounted_for(home: Path, port: int, scheme: str) -> None:
    """Two agents crash while the store is down and after a kill -9; then everything adds up, everywhere alike."""
    store = home / "store"
    url = f"http://127.0.0.1:{port}" if scheme == "http" else store.as_uri()
    one, other = AgentMachine(home, "one", url), AgentMachine(home, "other", url)
    if scheme == "file":
        store.write_text("in the way")
    assert [one.crash(), one.crash(), other.crash()] == [1, 1, 1]
    one.crash(KILLS)
    assert one.diag("flush").returncode == 5
    if scheme == "file":
        store.unlink()

    with running(store, "--port", str(port)) as viewer:
        accounts = {machine: machine.flush() for machine in (one, other)}
        assert accounts[one]["received"] >= 3  # what the killed agent saw of the end is its kernel's affair
        assert accounts[other] == {"received": 1, "stored": 1, "pending": 0, "quarantined": 0, "dropped": {}}
        assert len(api(viewer)) == 2
        for machine, account in accounts.items():
            shown_everywhere(viewer, machine, account)
        stored = viewer.get("api/v1/captures?limit=500").json()["captures"]
        assert len(stored) == sum(account["stored"] for account in accounts.values())

        # One capture is damaged, and one lost; then the viewer is killed and comes again.
        os.killpg(viewer.process.pid, signal.SIGKILL)
        viewer.process.wait(TIMEOUT_S)
    if scheme == "file":
        store.rename(home / "aside")
        store.write_text("in the way")
    assert [other.crash(), other.crash()] == [1, 1]
    damaged, gone = Spool(other.spool, 64 * MIB, 0).newest()
    next(damaged.glob("report*")).write_text("damaged")
    shutil.rmtree(gone)
    if scheme == "file":
        store.unlink()
        (home / "aside").rename(store)

    with running(store, "--port", str(port)) as viewer:
        account = other.flush()
        assert account == {"received": 3, "stored": 1, "pending": 0, "quarantined": 1, "dropped": {"lost": 1}}
        shown_everywhere(viewer, other, account)
        assert set(api(viewer)[other.agent_id]["troubles"]) == {"dropped", "quarantined"}
        assert api(viewer)[one.agent_id]["troubles"] == []
        assert list(api(viewer)) == [other.agent_id, one.agent_id]
        assert "Agents in trouble" in viewer.get("").text
        assert len(list((store / "v1/default/agents").glob("*/*"))) == 2


def test_agents_tell_and_remove_with_their_own_token(guarded: Running) -> None:
    """An agent's token delivers and removes accounts; it reads none, and no reader's token delivers any."""
    agent = new_capture_id()
    key = keys.account_key("default", agent, new_capture_id())
    data = told.encode(told.document(agent))

    assert guarded.put(key, data, "v-token").status_code == 403
    assert guarded.put(key, data, "g-token").status_code == 201
    assert guarded.put(key, data, "g-token").status_code == 200
    assert guarded.get(f"api/v1/objects/{key}", "g-token").status_code == 403
    assert guarded.get(f"api/v1/objects/{key}", "v-token").content == data
    assert list(api(guarded, "v-token")) == [agent]
    for path in ("api/v1/agents", "metrics"):
        assert [guarded.get(path, token).status_code for token in ("v-token", "g-token", "wrong", "")] == [
            200,
            403,
            401,
            401,
        ]
    address = f"api/v1/objects/{key}"
    assert [guarded.ask("DELETE", address, token).status_code for token in ("v-token", "", "g-token")] == [
        403,
        401,
        204,
    ]


def test_an_agents_token_is_enough_to_tell(guarded: Running, home: Path) -> None:
    """With a token of the role agent alone an agent tells, and leaves one account."""
    spool, store = Spool(home / "spool", 64 * MIB, 0), open_store(guarded.url, "g-token")
    for number in (1, 2, 3):
        put_capture(spool)
        drain(spool, store, "default", deadline=None)
        tell(spool, store, "default", last=True)

        (found,) = api(guarded, "v-token").values()
        assert (found["received"], found["stored"], found["holds"]) == (number, number, True)
    assert len(list((guarded.store / "v1/default/agents").glob("*/*"))) == 1


def test_what_is_no_account_is_not_stored(viewer: Running) -> None:
    """Wrong keys, other tenants, wrong contents and big ones are refused with a reason, and nothing is kept."""
    agent, good = new_capture_id(), told.document(new_capture_id())
    key = keys.account_key("default", agent, new_capture_id())

    answers = [
        viewer.put(key, told.encode(good)),
        viewer.put(key, b"not json"),
        viewer.put(key, b" " * (64 * 1024 + 1)),
        viewer.put(keys.account_key("other", agent, new_capture_id()), told.encode(told.document(agent))),
        viewer.put(f"v1/default/agents/{agent}/x.json", told.encode(told.document(agent))),
        viewer.put(f"v1/default/agents/x/{new_capture_id()}.json", told.encode(told.document(agent))),
        viewer.put(key, told.encode(told.document(agent)), sha256="0" * 64),
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 413, 422, 422, 422, 422]
    assert [answer for answer in answers if not (answer.json()["error"] and answer.json()["help"])] == []
    assert api(viewer) == {}
    assert list(viewer.store.rglob("*.json")) == []


def test_the_viewer_counts_what_it_took_and_refused(viewer: Running) -> None:
    """Uploads are counted by the status that they were answered with."""
    agent = new_capture_id()
    viewer.put(keys.account_key("default", agent, new_capture_id()), told.encode(told.document(agent)))
    viewer.put("v1/default/nonsense", b"x")

    text = viewer.get("metrics").text

    assert 'diag_viewer_uploads_total{status="201"} 1.0' in text
    assert 'diag_viewer_uploads_total{status="422"} 1.0' in text
    assert "diag_viewer_store_reachable 1.0" in text


def test_agents_are_filtered_by_address(viewer: Running) -> None:
    """Words and `only=trouble` select on the page and in the API; agents of last month are folded away."""
    ids = [new_capture_id() for _ in range(3)]
    told.put(viewer.store, told.healthy(ids[0], host="web-1"))
    told.put(viewer.store, told.document(ids[1], host="db-1"))
    long_ago = now() - timedelta(days=31)
    told.put(viewer.store, told.document(ids[2], long_ago, host="old-1"), long_ago)

    def found(query: str) -> list[str]:
        return [one["host"] for one in viewer.get(f"api/v1/agents?{query}").json()["agents"]]

    assert found("") == ["db-1", "web-1", "old-1"]
    assert found("only=trouble") == ["db-1"]
    assert found("q=WEB") == ["web-1"]
    assert found("q=nobody") == []
    assert found("limit=1") == ["db-1"]
    assert viewer.get("api/v1/agents?limit=0").status_code == 400
    page = viewer.get("agents").text
    assert "1 not heard of for 30 days" in page
    assert 'agent="' + ids[2] not in viewer.get("metrics").text
    assert "No agent matches" in viewer.get("agents?q=nobody").text


def test_markup_in_an_account_is_text(viewer: Running) -> None:
    """What an agent calls its host or its trouble never becomes an element."""
    markup = "<script>window.ran = 1</script>"
    told.put(viewer.store, told.document(new_capture_id(), host=markup, trouble=markup, dropped={markup: 2}))

    page = viewer.get("agents").text

    assert markup not in page
    assert "&lt;script&gt;" in page
