"""Which applications' certificates live too short for a kubelet, as the webhook asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blessings import Principal
from cluster_agent.errors import Forbidden
from cluster_agent.issuing.ttl_policy import TtlPolicy
from cluster_agent.model import Application
from service.cluster_agent_calls import ClusterAgentAddress, mutual_tls
from service.cluster_agent_client import ClusterAgentClient
from tests.cluster_agent.registry.claimed import Claimed
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from webhook.application_ttls import ApplicationTtls, read

SHORTEST = 3540
REGISTERED = {"a": 600, "b": 3539, "c": None, "d": 3540, "e": 86_400, "f": 300}


@contextmanager
def as_webhook(agent: RunningClusterAgent) -> Iterator[ClusterAgentClient]:
    """The webhook's own client of that agent."""
    principal = Principal.create()
    blessing = agent.control_plane.bless(
        principal.public_key, "webhook", now=datetime.now(UTC), lifetime=timedelta(days=1)
    )
    context = mutual_tls(principal, blessing, agent.server_roots)
    with ClusterAgentClient(ClusterAgentAddress(agent.url), context) as client:
        yield client


async def register_all(claimed: Claimed) -> None:
    for account, ttl in REGISTERED.items():
        application = Application("shop", account)
        await claimed.register(f"acme:prod:{account.upper()}", application=application, ttl=ttl)


async def listed(claimed: Claimed, limit: int) -> tuple[dict[str, int], int]:
    """The TTLs by service account, and the number of pages."""
    found: list[tuple[Application, int]] = []
    after, pages = None, 0
    while pages == 0 or after is not None:
        page = await claimed.registrar.ttls(claimed.secret_keeper(), SHORTEST, limit, after)
        assert page.default == claimed.registrar.ttl.default.total_seconds()
        assert len(page.registered) <= limit
        found += page.registered
        after, pages = page.following, pages + 1
    assert found == sorted(found, key=lambda one: (one[0].namespace, one[0].service_account))
    return {one.service_account: ttl for one, ttl in found}, pages


async def test_with_a_default_that_a_kubelet_can_have_the_shorter_ones_are_listed_in_pages(
    claimed: Claimed,
) -> None:
    await register_all(claimed)
    assert await listed(claimed, 2) == ({"a": 600, "b": 3539, "f": 300}, 2)
    assert (await listed(claimed, 3))[1] == 1


async def test_with_a_default_that_is_too_short_all_that_have_one_of_their_own_are_listed(
    claimed: Claimed,
) -> None:
    await register_all(claimed)
    claimed.registrar.ttl = TtlPolicy(timedelta(minutes=10), timedelta(minutes=5))
    assert await listed(claimed, 2) == ({one: ttl for one, ttl in REGISTERED.items() if ttl}, 3)


async def test_attack_a_replica_learns_nothing_of_other_applications(claimed: Claimed) -> None:
    replica = claimed.caller(await claimed.issue())
    with pytest.raises(Forbidden):
        await claimed.registrar.ttls(replica, SHORTEST, 10)


def test_the_webhook_learns_of_a_short_ttl_over_mutual_tls_and_of_its_end(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as agent, as_webhook(agent) as webhook:
        assert read(webhook.call) == ApplicationTtls(3600, SHORTEST, {})
        body = {"namespace": "shop", "serviceAccount": "web", "name": "acme:prod:Web"}
        with agent.control_plane_client() as administrator:
            for ttl, registered in ((600, {"shop/web": 600}), (3600, {}), (None, {})):
                sent = {**body, "ttlSeconds": ttl}
                administrator.post("/v1/register-application", json=sent).raise_for_status()
                assert read(webhook.call).registered == registered


def test_the_webhook_learns_of_a_default_that_no_kubelet_can_have(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path, ttl_seconds=600) as agent, as_webhook(agent) as webhook:
        found = read(webhook.call)
        assert found == ApplicationTtls(600, SHORTEST, {})
        assert found.objection("shop", "web") is not None
