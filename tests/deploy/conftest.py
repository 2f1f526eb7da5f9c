"""What the programs show at /metrics, for the alerts and the dashboard that ask for it."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from blessings import Principal
from tests.cluster_agents import pod_token, running_cluster_agent, with_environment, write_serving_files
from tests.csrs import csr_of
from tests.mounting import CertificateAuthority, swap
from tests.otlp_receiver import running_receiver
from tests.pod_agent.running import eventually, running_pod_agent, short_directory
from tests.webhook.serving import running_webhook

NOWHERE = {
    "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "nobody", "user": {}}],
    "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
    "current-context": "nowhere",
}


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The /metrics of a cluster agent with a mounted issuer, after an issuance and a misused credential."""
    volume, now = tmp_path_factory.mktemp("mounted"), datetime.now(UTC)
    swap(volume, CertificateAuthority.create(now).issue(now))
    with running_receiver() as receiver:
        start = with_environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
        with running_cluster_agent(
            tmp_path_factory.mktemp("watched"), start=start, issuing_directory=volume
        ) as agent:
            with agent.credential_client(agent.new_secret()["credential"]) as client:
                for token in (pod_token(agent.tokens), ""):
                    body = {"csr": csr_of(Principal.create()), "token": token}
                    client.post("/v1/seek-blessings", json=body)
            return httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The /metrics of a webhook and a cluster agent that find no API server, and of a pod agent that finds no
    cluster agent."""
    directory = tmp_path_factory.mktemp("webhook")
    (directory / "kubeconfig").write_text(yaml.safe_dump(NOWHERE))
    reconciling = ("--reconcile", "true", "--kubeconfig", str(directory / "kubeconfig"), "--heal", "on")
    with running_webhook(directory, *reconciling) as webhook, webhook.client() as client:
        texts = [client.get("/metrics").text]
    texts.append(_of_cluster_agent(tmp_path_factory.mktemp("unreviewed")))
    with short_directory() as directory, running_pod_agent(directory, "https://127.0.0.1:1") as pod_agent:
        url = f"{pod_agent.health_url}/metrics"
        texts.append(eventually("its metrics", lambda: httpx.get(url).text))
    return "".join(texts)


def _of_cluster_agent(directory: Path) -> str:
    """With the series of what it does for PodCertificateRequests, which needs an API server to ask."""
    write_serving_files(directory / "api-server")
    (directory / "token").write_text("nobody reads it")
    with running_cluster_agent(
        directory,
        attestor="token-review",
        kubernetes_api_url="https://127.0.0.1:1",
        kubernetes_ca_file=directory / "api-server" / "ca.crt",
        kubernetes_token_file=directory / "token",
    ) as agent:
        return httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text


@pytest.fixture(scope="session")
def shown(scraped: str, others: str) -> dict[str, set[str]]:
    """Each series' name, and the names of its labels, as far as it has samples."""
    names: dict[str, set[str]] = defaultdict(set)
    for family in [*text_string_to_metric_families(scraped), *text_string_to_metric_families(others)]:
        names[family.name + ("_total" if family.type == "counter" else "")] |= set()
        for sample in family.samples:
            names[sample.name] |= set(sample.labels)
    return dict(names)
