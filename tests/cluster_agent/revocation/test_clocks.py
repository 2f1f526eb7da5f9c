"""A clock that was two hours ahead for a moment: what was signed meanwhile is made anew, as openssl judges
it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update
from structlog.testing import capture_logs

from blessings import Blessing, Reason
from blessings.encoding.chains import to_pem
from cluster_agent.audit.kinds import Retention
from cluster_agent.errors import Forbidden
from cluster_agent.issuing.certification import IssuedBlessing
from cluster_agent.kubernetes.api import KubernetesApi
from cluster_agent.kubernetes.events import NamespaceEvents
from cluster_agent.model import Application
from cluster_agent.program.steady_clock import HELD_SECONDS, SteadyClock
from cluster_agent.program.tasks import housekeeping
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.store import open_store
from cluster_agent.store.tables import revocation_state, revoked_certificates
from tests.clock import Clock
from tests.cluster_agent.revocation.test_revocation import LIFETIME, Revoking

CART = Application("shop", "cart")


def judged_by_openssl(directory: Path, revoking: Revoking, blessing: Blessing) -> str:
    """The verdict of `openssl verify -crl_check`, at the agent's time."""
    lists = revoking.all_lists().entries
    (root,) = revoking.under.room.identity_roots
    (directory / "root.pem").write_text(to_pem([root.certificate]))
    (directory / "leaf.pem").write_text(to_pem(blessing.certificates[:1]))
    (directory / "above.pem").write_text(to_pem(blessing.certificates[1:]))
    (directory / "lists.pem").write_text(
        "".join(one.crl.public_bytes(Encoding.PEM).decode() for one in lists)
    )
    judging = "openssl verify -crl_check -CAfile root.pem -untrusted above.pem -CRLfile lists.pem -attime"
    command = [*judging.split(), str(int(revoking.clock().timestamp())), "leaf.pem"]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


@pytest.fixture
async def revoking(tmp_path: Path, store_url: str) -> AsyncIterator[Revoking]:
    made = Revoking(tmp_path, store_url, ttl=timedelta(hours=3))
    yield made
    await made.under.store.close()


async def issue(revoking: Revoking, application: Application, pod: str) -> IssuedBlessing:
    secret = await revoking.secret(application)
    claims = {"service_account": application.service_account}
    return await revoking.issue(secret.credential.blessing, pod, **claims)


@pytest.mark.parametrize("restarted", [False, True])
async def test_lists_that_were_published_ahead_of_time_are_made_anew(
    tmp_path: Path, revoking: Revoking, restarted: bool
) -> None:
    replica = await issue(revoking, Application("shop", "web"), "web-1")
    other = await issue(revoking, Application("shop", "web"), "web-2")
    await revoking.lists.refresh()
    revoking.clock.turn(minutes=1)
    await revoking.lists.refresh()
    assert judged_by_openssl(tmp_path, revoking, replica.blessing) == "leaf.pem: OK\n"
    revoking.clock.turn(hours=2)
    await revoking.revoker.revoke_name(revoking.administrator, other.name)
    await revoking.lists.refresh()
    number = revoking.lists.version
    revoking.clock.turn(hours=-2)
    if restarted:
        revoking.lists = CurrentLists(revoking.under.store, revoking.under.room, LIFETIME, revoking.clock)
    await revoking.lists.refresh()
    assert judged_by_openssl(tmp_path, revoking, replica.blessing) == "leaf.pem: OK\n"
    assert "certificate revoked" in judged_by_openssl(tmp_path, revoking, other.blessing)
    assert revoking.lists.version > number
    again = revoking.lists.version
    await revoking.lists.refresh()
    assert revoking.lists.version == again, "made anew once"


async def test_an_application_that_was_first_issued_ahead_of_time_is_issued_at_once_again(
    revoking: Revoking,
) -> None:
    secret = await revoking.secret(CART)
    revoking.clock.turn(hours=2)
    await revoking.issue(secret.credential.blessing, "cart-1", service_account="cart")
    revoking.clock.turn(hours=-2)
    issued = await revoking.issue(secret.credential.blessing, "cart-1", service_account="cart")
    assert issued.blessing.not_before <= revoking.clock() < issued.blessing.not_after
    revoking.clock.turn(minutes=1)
    grant = issued.blessing.certificates[1]
    later = await revoking.issue(issued.blessing, "cart-1", service_account="cart")
    assert later.blessing.certificates[1] == grant, "made anew once"


async def test_replicas_whose_clocks_differ_do_not_replace_each_others_lists(
    revoking: Revoking, store_url: str
) -> None:
    if store_url.startswith("sqlite"):
        return  # one replica
    await issue(revoking, Application("shop", "web"), "web-1")
    ahead = Clock(revoking.clock() + timedelta(hours=2))
    store = open_store(store_url)
    other = CurrentLists(store, revoking.under.room, LIFETIME, ahead)
    await revoking.lists.refresh()
    number = revoking.lists.version
    for _ in range(3):
        await other.refresh()
        await revoking.lists.refresh()
    await store.close()
    assert revoking.lists.version == other.version == number


async def test_a_misuse_is_reported_again_after_a_clock_that_was_ahead(revoking: Revoking) -> None:
    created: list[str] = []

    class Api:
        async def create(self, path: str, body: dict[str, Any]) -> None:
            created.append(path)

    events, secret = NamespaceEvents(cast(KubernetesApi, Api()), revoking.clock), await revoking.secret()
    for hours in (2, -2):
        revoking.clock.turn(hours=hours)
        events.report(secret.secret, Forbidden("NoToken", "there is none"))
        await asyncio.sleep(0)
    assert len(created) == 2


async def test_the_number_of_the_lists_does_not_go_back_with_a_store_from_a_backup(
    revoking: Revoking,
) -> None:
    replica = await issue(revoking, Application("shop", "web"), "web-1")
    await revoking.lists.refresh()
    backup = revoking.lists.version
    revoking.clock.turn(minutes=10)
    await revoking.revoker.revoke_name(revoking.administrator, replica.name)
    known = revoking.lists.version
    access = revoking.under.store._access
    await access.write(lambda connection: connection.execute(update(revocation_state).values(number=backup)))
    revoking.clock.turn(minutes=1)
    revoking.lists = CurrentLists(revoking.under.store, revoking.under.room, LIFETIME, revoking.clock)
    await revoking.lists.refresh()
    assert revoking.lists.version > known


@pytest.mark.parametrize("absurd", [-(2**60), 2**60])
async def test_a_time_that_cannot_be_read_spoils_no_list(revoking: Revoking, absurd: int) -> None:
    replicas = [await issue(revoking, Application("shop", "web"), f"web-{n}") for n in (1, 2)]
    for replica in replicas:
        await revoking.revoker.revoke_name(revoking.administrator, replica.name)
    rows = revoked_certificates.c
    spoiling = update(revoked_certificates).where(
        rows.serial == f"{replicas[0].blessing.leaf.serial_number:x}"
    )
    access = revoking.under.store._access
    await access.write(lambda connection: connection.execute(spoiling.values(revoked_at=absurd)))
    revoking.clock.turn(hours=1)
    await revoking.lists.refresh()
    assert [revoking.judged(one.blessing) for one in replicas] == [Reason.REVOKED] * 2


async def test_a_clock_that_was_a_year_ahead_for_a_moment_removes_nothing(revoking: Revoking) -> None:
    replica = await issue(revoking, Application("shop", "web"), "web-1")
    await revoking.revoker.revoke_name(revoking.administrator, replica.name)
    seconds = 0.0
    steady, store = SteadyClock(revoking.clock, lambda: seconds), revoking.under.store
    house = housekeeping(store, revoking.under.room, revoking.lists, Retention(), revoking.clock, steady)

    async def counted() -> int:
        return len(await store.published_revocations.certificates(datetime.fromtimestamp(0, UTC)))

    revoking.clock.turn(days=365)
    await house()
    assert await counted() == 1
    revoking.clock.turn(days=-365)
    for _ in range(3):
        seconds += HELD_SECONDS
        revoking.clock.turn(seconds=HELD_SECONDS)
        await house()
    assert await counted() == 1
    # Time that has passed is no jump.
    for _ in range(60):
        seconds += HELD_SECONDS
        revoking.clock.turn(seconds=HELD_SECONDS)
        await house()
    assert await counted() == 0


def test_a_clock_that_stays_ahead_is_believed_after_a_while() -> None:
    clock, seconds = Clock(), 0.0
    steady = SteadyClock(clock, lambda: seconds)
    assert steady.is_steady()
    clock.turn(hours=2)
    with capture_logs() as logs:
        assert not steady.is_steady()
        seconds += HELD_SECONDS - 1
        clock.turn(seconds=HELD_SECONDS - 1)
        assert not steady.is_steady()
        seconds += 1
        clock.turn(seconds=1)
        assert steady.is_steady()
    assert [line["event"] for line in logs] == ["the clock was set ahead; nothing is removed for now"]
