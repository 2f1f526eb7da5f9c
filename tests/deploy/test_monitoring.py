"""The alerts of deploy/monitoring ask for what the program shows: a misspelt metric would never alert."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from blessings import Principal
from tests.cluster_agents import pod_token, running_cluster_agent, with_environment
from tests.csrs import csr_of
from tests.otlp_receiver import running_receiver
from tests.pod_agent.running import eventually, running_pod_agent, short_directory
from tests.webhook.serving import running_webhook

RULES = Path("deploy/monitoring/prometheus-rules.yaml")
SELECTOR = re.compile(r"\b(vanadium_\w+)(?:\{([^}]*)\})?")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    assert (document["apiVersion"], document["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The cluster agent's /metrics after an issuance and a misused credential."""
    with running_receiver() as receiver:
        start = with_environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
        with running_cluster_agent(tmp_path_factory.mktemp("watched"), start=start) as agent:
            with agent.credential_client(agent.new_secret()["credential"]) as client:
                for token in (pod_token(agent.tokens), ""):
                    body = {"csr": csr_of(Principal.create()), "token": token}
                    client.post("/v1/seek-blessings", json=body)
            return httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The /metrics of the webhook and of a pod agent that finds no cluster agent."""
    with running_webhook(tmp_path_factory.mktemp("webhook")) as webhook, webhook.client() as client:
        texts = [client.get("/metrics").text]
    with short_directory() as directory, running_pod_agent(directory, "https://127.0.0.1:1") as pod_agent:
        url = f"{pod_agent.health_url}/metrics"
        texts.append(eventually("its metrics", lambda: httpx.get(url).text))
    return "".join(texts)


@pytest.fixture(scope="module")
def shown(scraped: str, others: str) -> dict[str, set[str]]:
    """Each series' name, and the names of its labels, as far as it has samples."""
    names: dict[str, set[str]] = defaultdict(set)
    for family in [*text_string_to_metric_families(scraped), *text_string_to_metric_families(others)]:
        names[family.name + ("_total" if family.type == "counter" else "")] |= set()
        for sample in family.samples:
            names[sample.name] |= set(sample.labels)
    return dict(names)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_series_of_an_alert_is_one_that_the_program_shows(
    rule: dict[str, Any], shown: dict[str, set[str]]
) -> None:
    selectors = SELECTOR.findall(rule["expr"])
    assert selectors
    for name, matchers in selectors:
        assert name in shown, name
        asked = set(re.findall(r"(\w+)\s*=", matchers))
        # What has no samples yet has no labels to compare with: the fleet is counted once a minute.
        assert asked <= shown[name] or not shown[name], (name, asked, shown[name])


@pytest.mark.parametrize("program", ["cluster_agent", "webhook", "pod_agent"])
def test_a_task_that_fails_or_hangs_alerts_in_every_program(program: str, shown: dict[str, set[str]]) -> None:
    asked = {name for rule in rules() for name, _ in SELECTOR.findall(rule["expr"])}
    for series in (f"vanadium_{program}_task_failures_total", f"vanadium_{program}_task_overdue_seconds"):
        assert series in asked
        assert shown[series] == {"task"}


def test_it_alerts_when_nobody_scrapes_the_agents(scraped: str) -> None:
    """No other alert would: a condition on series that are not there is never met. What it misses has a
    sample from the start, on every agent, without anything to happen."""
    absent = [re.findall(r"^absent\((\w+)\)$", rule["expr"].strip()) for rule in rules()]
    ((name,),) = [names for names in absent if names]
    (family,) = [one for one in text_string_to_metric_families(scraped) if one.name == name]
    assert family.type == "gauge"
    assert [sample.labels for sample in family.samples] == [{}]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_how_grave_it_is_and_what_it_is(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Vanadium")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"]
