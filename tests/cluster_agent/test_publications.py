"""Who has which version of what is published: replicas ask, and so acknowledge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from blessings import Blessing, Principal
from cluster_agent.errors import Forbidden
from cluster_agent.model import Application
from cluster_agent.publications import PollingPace, Publications
from cluster_agent.store import Share
from tests.cluster_agents import AgentUnderClock, RunningClusterAgent, pod_token
from tests.csrs import csr_of


@dataclass
class Leaflet:
    """A publication for tests."""

    version: int = 3
    required: int = 3
    kind: str = "leaflet"

    def after(self, version: int, _applications: Collection[str]) -> object:
        return f"from {version} to {self.version}"


@pytest.fixture
async def under(tmp_path: Path, store_url: str) -> AsyncIterator[AgentUnderClock]:
    agent = AgentUnderClock(tmp_path, store_url)
    yield agent
    await agent.store.close()


def publications(under: AgentUnderClock, leaflet: Leaflet) -> Publications:
    pace = PollingPace(polls_per_second=100, shortest_pause=timedelta(seconds=15))
    return Publications(under.store, [leaflet], pace, under.clock)


async def replica(under: AgentUnderClock, pod: str) -> Blessing:
    secret = await under.secrets.make(under.administrator(), Application("shop", "web"))
    caller = under.caller(secret.credential.blessing)
    issued = await under.issuer.seek_blessings(
        caller, csr_of(Principal.create()), under.token(pod, lifetime=timedelta(days=1)), None
    )
    return issued.blessing


async def test_a_replica_gets_what_it_lacks_and_nothing_when_it_has_it(under: AgentUnderClock) -> None:
    published = publications(under, Leaflet())
    asking = await under.issuer.replica(under.caller(await replica(under, "web-1")))
    first = await published.answer(asking, {"leaflet": 1, "unknown": 7})
    assert first["publications"] == {"leaflet": {"version": 3, "content": "from 1 to 3"}}
    assert (await published.answer(asking, {"leaflet": 3}))["publications"] == {}
    assert (await published.answer(asking, {}))["publications"] == {}


async def test_a_bootstrap_credential_is_no_replica(under: AgentUnderClock) -> None:
    secret = await under.secrets.make(under.administrator(), Application("shop", "web"))
    with pytest.raises(Forbidden, match="this call is a replica's"):
        await under.issuer.replica(under.caller(secret.credential.blessing))


async def test_the_share_counts_live_replicas_that_have_what_is_required(under: AgentUnderClock) -> None:
    leaflet = Leaflet(version=3, required=2)
    published = publications(under, leaflet)
    blessings = [await replica(under, f"web-{number}") for number in range(4)]
    await published.count()
    assert published.shares["leaflet"] == Share(live=4, acknowledged=0)
    for blessing, version in zip(blessings, (3, 2, 1, 0), strict=True):
        await published.answer(await under.issuer.replica(under.caller(blessing)), {"leaflet": version})
    await published.count()
    assert published.shares["leaflet"] == Share(live=4, acknowledged=2)
    assert published.shares["leaflet"].ratio == 0.5
    leaflet.required = leaflet.version = 4
    await published.count()
    assert published.shares["leaflet"] == Share(live=4, acknowledged=0)


async def test_a_renewed_replica_is_the_same_and_an_expired_one_no_longer_counts(
    under: AgentUnderClock,
) -> None:
    published = publications(under, Leaflet())
    staying, leaving = await replica(under, "web-1"), await replica(under, "web-2")
    for blessing in (staying, leaving):
        await published.answer(await under.issuer.replica(under.caller(blessing)), {"leaflet": 3})
    under.clock.turn(minutes=30)
    await under.issuer.seek_blessings(
        under.caller(staying), csr_of(Principal.create()), under.token("web-1"), None
    )
    await published.count()
    assert published.shares["leaflet"] == Share(live=2, acknowledged=2)
    under.clock.turn(minutes=45)
    await published.count()
    assert published.shares["leaflet"] == Share(live=1, acknowledged=1)
    assert await under.store.fleet.drop_gone(under.clock()) == 1


async def test_a_version_from_the_future_is_not_believed(under: AgentUnderClock) -> None:
    """A store that came from a backup published less than its replicas have seen."""
    published = publications(under, Leaflet())
    asking = await under.issuer.replica(under.caller(await replica(under, "web-1")))
    answer = await published.answer(asking, {"leaflet": 9})
    assert answer["publications"] == {"leaflet": {"version": 3, "content": "from 0 to 3"}}
    await published.count()
    assert published.shares["leaflet"].acknowledged == 0


def test_the_pause_grows_with_the_fleet() -> None:
    pace = PollingPace(polls_per_second=100, shortest_pause=timedelta(seconds=15))
    assert pace.pause(0) == pace.pause(1500) == timedelta(seconds=15)
    assert pace.pause(100_000) == timedelta(seconds=1000)


def test_nobody_left_to_tell_is_everybody_told() -> None:
    assert Share(live=0, acknowledged=0).ratio == 1


def test_over_tls_replicas_ask_and_administrators_read(agent: RunningClusterAgent) -> None:
    issued = agent.new_secret()
    principal = Principal.create()
    body = {"csr": csr_of(principal), "token": pod_token(agent.tokens)}
    with agent.credential_client(issued["credential"]) as client:
        chain = client.post("/v1/seek-blessings", json=body).json()["chain"]
        assert client.post("/v1/watch", json={"have": {}}).status_code == 403
    with agent.client(principal, Blessing.from_pem(chain)) as client:
        answer = client.post("/v1/watch", json={"have": {}})
        assert answer.status_code == 200
        assert answer.json()["askAgainAfterSeconds"] == 15
        assert client.post("/v1/watch", json={"have": {"crl": -1}}).status_code == 400
        assert client.get("/v1/acknowledgements").status_code == 403
    with agent.control_plane_client() as client:
        assert "kinds" in client.get("/v1/acknowledgements").json()
