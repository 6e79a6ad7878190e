"""Metrics are what Prometheus reads, whatever agents call themselves."""

from __future__ import annotations

from typing import Any

import told
from diag_server.accounts import agent_at, read_account
from diag_server.metrics import KINDS_LIMIT, Facts, Tally, exposed
from prometheus_client.parser import text_string_to_metric_families

from diag.model import new_capture_id, now

AGENT = new_capture_id()


def scraped(accept: str = "", **changes: Any) -> dict[tuple[str, ...], float]:
    """(name, label values…) to value of every sample, read by Prometheus' own parser."""
    usual: dict[str, Any] = {
        "agents": [],
        "unread": 0,
        "captures": {},
        "uploads": {},
        "looked_s_ago": 0.5,
        "reachable": True,
    }
    content, _ = exposed(Facts(**{**usual, **changes}), accept)
    families = text_string_to_metric_families(content.decode())
    return {(sample.name, *sample.labels.values()): sample.value for one in families for sample in one.samples}


def test_every_number_of_an_account_is_a_sample() -> None:
    """Counters and gauges carry agent and host, and losses their reason."""
    account = read_account(told.encode(told.document(AGENT)), AGENT, new_capture_id())

    found = scraped(agents=[agent_at(account, account.time)])

    names = ("received_total", "stored_total", "pending", "quarantined")
    assert [found[f"diag_agent_captures_{name}", AGENT, "web-1"] for name in names] == [9, 4, 2, 1]
    assert found["diag_agent_captures_dropped_total", AGENT, "web-1", "quota"] == 1
    assert found["diag_agent_captures_dropped_total", AGENT, "web-1", "disk full"] == 1
    assert found["diag_agent_oldest_pending_seconds", AGENT, "web-1"] == 12.5
    assert found["diag_agent_last_report_timestamp_seconds", AGENT, "web-1"] == account.time.timestamp()


def test_hostile_names_stay_labels() -> None:
    """Quotes, backslashes and braces in a host end no label and make no metric of their own."""
    host = 'a"} 1\\n# TYPE evil counter\\" {x="'
    account = read_account(told.encode(told.document(AGENT, host=host)), AGENT, new_capture_id())

    found = scraped(agents=[agent_at(account, now())])

    assert found["diag_agent_captures_received_total", AGENT, host] == 9
    assert {key[0].startswith("diag_") for key in found} == {True}


def test_the_viewer_tells_about_itself() -> None:
    """Captures by kind, uploads by status, the last look, and its version."""
    found = scraped(captures={"crash": 3}, uploads={"201": 5, "422": 1}, reachable=False)

    assert found["diag_viewer_captures", "crash"] == 3
    assert [found["diag_viewer_uploads_total", status] for status in ("201", "422")] == [5, 1]
    assert (found[("diag_viewer_look_age_seconds",)], found[("diag_viewer_store_reachable",)]) == (0.5, 0)
    assert [key for key in found if key[0] == "diag_viewer_info"] != []


def test_kinds_that_somebody_invents_are_few_series() -> None:
    """A manifest may name any kind; beyond the most frequent ones they are counted together."""
    found = scraped(captures={"crash": 1000, **{f"k{number}": 1 for number in range(200)}})

    kinds = {key[1]: value for key, value in found.items() if key[0] == "diag_viewer_captures"}
    assert len(kinds) == KINDS_LIMIT + 1
    assert (kinds["crash"], sum(kinds.values())) == (1000, 1200)


def test_a_scraper_gets_the_format_that_it_accepts() -> None:
    """OpenMetrics where it is asked for, the text format otherwise."""
    facts = Facts([], 0, {}, {}, 0.0, True)

    assert exposed(facts, "")[1].startswith("text/plain; version=0.0.4")
    content, content_type = exposed(facts, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert content.endswith(b"# EOF\n")


def test_a_tally_counts_by_name() -> None:
    """Each status is counted on its own."""
    tally = Tally()
    for name in ("201", "422", "201"):
        tally.add(name)

    assert tally.counts() == {"201": 2, "422": 1}
