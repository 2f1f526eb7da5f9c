"""How long the stages of an issuance take, and which limit a call was beyond: as the program shows it."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import httpx
import pytest

from blessings import Blessing, Name, Principal
from cluster_agent.errors import Limit, Refusal
from cluster_agent.issuing.stages import Stage
from cluster_agent.model import Application
from tests.cluster_agents import AgentUnderClock, RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of

STAGES = get_args(Stage)


class WatchRecord:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        self.seen.append(f"{stage} begins")
        try:
            yield
        except Refusal as refusal:
            self.seen.append(f"{stage} refuses: {refusal.reason}")
            raise
        self.seen.append(f"{stage} ends")

    def is_for(self, application: Application) -> None:
        self.seen.append(f"for {application.namespace}/{application.service_account}")

    def issued(self, name: Name) -> None:
        self.seen.append(f"issued {name}")


@pytest.fixture
async def under(tmp_path: Path, store_url: str) -> AsyncIterator[AgentUnderClock]:
    agent = AgentUnderClock(tmp_path, store_url)
    yield agent
    await agent.store.close()


async def test_a_watch_is_told_of_each_stage_and_whom_it_is_for(under: AgentUnderClock) -> None:
    secret = await under.secrets.make(under.administrator(), Application("shop", "web"))
    caller = under.caller(secret.credential.blessing)
    watch = under.issuer.watch = WatchRecord()
    await under.issuer.seek_blessings(caller, csr_of(Principal.create()), under.token(), None)
    assert watch.seen == [
        "entitlement begins",
        "entitlement ends",
        "for shop/web",
        "attestation begins",
        "attestation ends",
        "signing begins",
        "signing ends",
        "store begins",
        "store ends",
        "issued acme:prod:shop:web:web-1",
    ]


async def test_a_refusal_ends_its_stage_and_no_other_begins(under: AgentUnderClock) -> None:
    secret = await under.secrets.make(under.administrator(), Application("shop", "web"))
    caller = under.caller(secret.credential.blessing)
    watch = under.issuer.watch = WatchRecord()
    with pytest.raises(Refusal):
        await under.issuer.seek_blessings(caller, csr_of(Principal.create()), "", None)
    assert watch.seen[-2:] == ["attestation begins", "attestation refuses: TokenMissing"]


def test_every_stage_of_an_issuance_is_timed_and_of_a_refused_one_those_that_it_reached(
    tmp_path: Path,
) -> None:
    with running_cluster_agent(tmp_path) as agent:
        with agent.credential_client(agent.new_secret()["credential"]) as client:
            for token in (pod_token(agent.tokens), ""):
                client.post("/v1/seek-blessings", json={"csr": csr_of(Principal.create()), "token": token})
        shown = metrics_of(agent)
    counts = {
        stage: shown[f'vanadium_cluster_agent_stage_seconds_count{{stage="{stage}"}}'] for stage in STAGES
    }
    assert counts == {"entitlement": 2, "attestation": 2, "signing": 1, "store": 1}
    assert shown["vanadium_cluster_agent_seek_blessings_seconds_count"] == 1
    for bound in ("0.001", "10.0"):  # from a millisecond to what a pod agent waits for
        assert f'vanadium_cluster_agent_seek_blessings_seconds_bucket{{le="{bound}"}}' in shown
        assert f'vanadium_cluster_agent_stage_seconds_bucket{{le="{bound}",stage="store"}}' in shown


def test_calls_beyond_a_limit_are_counted_by_its_name_and_all_names_are_there_from_the_start(
    tmp_path: Path,
) -> None:
    with running_cluster_agent(tmp_path, rate_per_replica=0.001, rate_per_address=0.001) as agent:
        assert overload_of(agent) == dict.fromkeys(get_args(Limit), 0.0)
        principal = Principal.create()
        with agent.credential_client(agent.new_secret()["credential"]) as client:
            body = {"csr": csr_of(principal), "token": pod_token(agent.tokens)}
            chain = client.post("/v1/seek-blessings", json=body).json()["chain"]
            assert client.post("/v1/seek-blessings", json={}).status_code == 429
        with agent.client(principal, Blessing.from_pem(chain)) as replica:
            assert [replica.post("/v1/watch", json={}).status_code for _ in range(2)] == [400, 429]
        counted = {limit: count for limit, count in overload_of(agent).items() if count}
    assert counted == {"rate-address": 1, "rate-replica": 1}


def test_connections_beyond_a_limit_are_counted_by_its_name(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path, max_connections_per_address=1, handshake_seconds=60) as agent:
        address = ("127.0.0.1", int(agent.url.rsplit(":", 1)[1]))
        # Whoever connects first is accepted first; it says nothing, and has a minute for that.
        with socket.create_connection(address), socket.create_connection(address) as second:
            assert second.recv(1) == b""
        assert overload_of(agent)["connections-from-address"] == 1


def metrics_of(agent: RunningClusterAgent) -> dict[str, float]:
    """Each sample of the program's /metrics, by its name and labels."""
    text = httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text
    return {name: float(value) for name, value in re.findall(r"^([^#].*) (\S+)$", text, re.MULTILINE)}


def overload_of(agent: RunningClusterAgent) -> dict[str, float]:
    sample = re.compile(r'vanadium_cluster_agent_overload_total\{limit="([^"]*)"\}')
    return {found[1]: value for name, value in metrics_of(agent).items() if (found := sample.fullmatch(name))}
