"""The fleet's numbers: by hand on made-up lives, and by the store on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from blessings import Authority, Name, Principal
from cluster_agent.errors import Unavailable
from cluster_agent.model import IssuedCertificate
from cluster_agent.monitoring.certificates import certificate_ends
from cluster_agent.monitoring.metrics import FleetMetrics, outage_budget
from cluster_agent.program.tasks import counting_fleet
from cluster_agent.signing.key_files import make_signing_room
from service.certificate_ends import CertificateEnds
from tests.clock import Clock
from tests.cluster_agent.store.test_store import NOW, SECRET, issuance, opened

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.0, 10), (0.1, 10), (0.11, 20), (0.5, 20), (0.51, 900), (0.9, 900), (1.0, 900)]
)
def test_the_outage_budget_is_when_that_share_has_ended(share: float, seconds: int) -> None:
    assert outage_budget([(10, 1), (20, 4), (900, 5)], share) == seconds


def test_a_fleet_of_nobody_has_no_budget() -> None:
    assert outage_budget([], 0.5) == 0


async def test_a_replicas_last_certificate_counts_and_no_ended_or_revoked_one(store_url: str) -> None:
    async with opened(store_url) as store:
        await store.secrets.add(SECRET)
        for one in (
            issuance(1, not_after=NOW + HOUR),
            issuance(2, not_after=NOW + HOUR / 2),
            issuance(3, not_after=NOW + HOUR, pod_uid="uid-2"),  # 2 has renewed
            issuance(4, not_after=NOW - HOUR),
            issuance(5, not_after=NOW + timedelta(seconds=25)),
            issuance(6, not_after=NOW + HOUR),
        ):
            await store.issuances.add(one)
        await store.revocations.revoke_replica("uid-6", NOW)
        assert await store.fleet.lives(NOW) == [(20, 1), (3600, 2)]


async def test_a_replica_whose_certificate_was_revoked_with_its_secret_is_not_waited_for(
    store_url: str,
) -> None:
    certificate = IssuedCertificate("ab12", "acme:prod:shop:web", "3d:92", NOW + timedelta(days=30))
    async with opened(store_url) as store:
        await store.secrets.add(SECRET)
        await store.secrets.add(replace(SECRET, id="other", certificate_fingerprint="other"))
        await store.issuances.add(issuance(1, certificate=certificate))
        await store.issuances.add(issuance(2, secret_id="other"))
        await store.fleet.acknowledge("uid-2", {"roots": 2}, NOW)
        await store.revocations.revoke_secret(SECRET.id, NOW)
        assert await store.fleet.live_pods(NOW) == {"uid-2"}
        assert (await store.fleet.share("roots", 2, NOW)).ratio == 1


async def test_the_gauges_say_nothing_when_the_store_is_away(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    registry = CollectorRegistry()
    async with opened(url) as store:
        await store.secrets.add(SECRET)
        await store.issuances.add(issuance(1, not_after=NOW + HOUR))
        count = counting_fleet(store, FleetMetrics(registry), Clock(NOW))
        await count()
        shown = generate_latest(registry).decode()
        assert 'vanadium_cluster_agent_live_replicas{counted="by-leader"} 1.0' in shown
        assert 'vanadium_cluster_agent_outage_budget_seconds{share="0.5"} 3600.0' in shown
        store._access.database.dispose()
        (tmp_path / "store.sqlite3").unlink()
        with pytest.raises(Unavailable):
            await count()
        assert "vanadium_cluster_agent_live_replicas{" not in generate_latest(registry).decode()


def test_every_signing_certificate_says_what_it_has_left(tmp_path: Path) -> None:
    clock = Clock()
    room = make_signing_room(tmp_path, Name.parse("acme"), now=clock())
    registry = CollectorRegistry()
    CertificateEnds(registry, "cluster_agent", lambda: certificate_ends(room, None, clock()), clock)
    web = Name.parse("acme:prod:shop:web")
    room.sign_replica(web, "web-1", Principal.create().public_key, now=clock(), ttl=HOUR)
    guests = Authority.create_root(Name.parse("partner"), Principal.create(), now=clock(), lifetime=HOUR)
    chain = guests.grant(room.issuing.public_key, "guests", now=clock(), lifetime=HOUR)
    room.sign_granted(chain, "guest-1", Principal.create().public_key, now=clock(), ttl=HOUR)
    shown = generate_latest(registry).decode()
    for name in ("identity", "bootstrap", "acme:prod:shop:web", "granted/partner:guests"):
        assert f'certificate_seconds_left{{certificate="{name}"}}' in shown
    clock.turn(days=31)
    assert "acme:prod:shop:web" not in generate_latest(registry).decode()
