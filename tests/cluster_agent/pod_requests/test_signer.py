"""The signer and its store, under a clock: what is recorded, what is answered again, and what waits."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from blessings import Blessing, Name, verify_blessing
from cluster_agent.audit import Record
from cluster_agent.audit.kinds import Kind, kind_of
from cluster_agent.errors import KeyReused, Refusal
from cluster_agent.issuing.ttl_policy import TtlPolicy
from cluster_agent.kubernetes.pod_requests import VouchingPod
from cluster_agent.model import Application
from cluster_agent.pod_requests import status
from cluster_agent.pod_requests.request import PodRequest
from cluster_agent.pod_requests.signer import PodRequestSigner, is_final
from cluster_agent.store import MOST_LIVE_OF_POD, MOST_OF_FULL_LIFE
from cluster_agent.store.entitlements import drop_unused
from cluster_agent.store.fleet import VOLUMES_REFRESHED, Share
from cluster_agent.store.pod_requests import HELD, PodRequests
from tests.cluster_agent.pod_requests.test_checks import POD, REQUEST
from tests.cluster_agents import AgentUnderClock
from tests.kubelets import csr_for, stub_csr

LABEL = ("vanadium.io/inject", "enabled")
WEB = Application("shop", "web")


@dataclass
class Api:
    """What the API server knows, as far as one Pod needs it."""

    pods: dict[str, VouchingPod]
    labelled: bool = True

    async def is_labelled(self, namespace: str) -> bool:
        return self.labelled

    async def service_account_uid(self, namespace: str, name: str, asked: str) -> str | None:
        return f"uid-of-{name}"

    async def pod(self, namespace: str, name: str) -> VouchingPod | None:
        return self.pods.get(name)


class Signing(AgentUnderClock):
    """An agent that signs for Pods of shop/web."""

    def __init__(self, directory: Path, store_url: str) -> None:
        super().__init__(directory, store_url)
        self.api = Api({"web-1": POD, "web-2": replace(POD, uid="uid-of-web-2")})
        self.signer = PodRequestSigner(
            room=self.room,
            registry=self.registry,
            entitlements=self.store.entitlements,
            issuances=self.store.issuances,
            vouchers=self.api,
            label=LABEL,
            ttl=self.issuer.ttl,
            now=self.clock,
        )

    async def answer(self, request: PodRequest, **how: bool) -> dict[str, Any]:
        """The status, as it was recorded too."""
        answered: dict[str, Any] = json.loads((await self.signer.answer(request, **how)).status)
        return answered

    async def refusal(self, request: PodRequest) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.signer.answer(request)
        return caught.value


@pytest.fixture
async def signing(tmp_path: Path, store_url: str) -> AsyncIterator[Signing]:
    one = Signing(tmp_path, store_url)
    yield one
    await one.store.close()


def anew(request: PodRequest = REQUEST, uid: str = "another") -> PodRequest:
    """The next request of the same Pod, with a new key."""
    csr = base64.b64decode(stub_csr(ec.generate_private_key(ec.SECP256R1())))
    return replace(request, uid=uid, csr=csr)


def times(answer: dict[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(answer[name]) for name in ("notBefore", "beginRefreshAt", "notAfter")]


async def test_the_status_is_that_of_its_certificate(signing: Signing) -> None:
    answer = await signing.answer(REQUEST)
    blessing = Blessing.from_pem(answer["certificateChain"])
    now = signing.clock()
    assert verify_blessing(blessing, signing.roots, now=now) == Name.parse("acme:prod:shop:web:web-1")
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    assert times(answer) == [now - minute, now + hour / 2, now + hour]
    assert (blessing.leaf.not_valid_before_utc, blessing.leaf.not_valid_after_utc) == (
        now - minute,
        now + hour,
    )
    assert [one["type"] for one in answer["conditions"]] == ["Issued"]


async def test_a_replica_by_volume_is_listed_as_one_that_acknowledges_nothing(signing: Signing) -> None:
    await signing.answer(REQUEST)
    (listed,) = await signing.store.inventory.replicas(signing.clock(), limit=9)
    assert (listed.pod_name, listed.in_volume, listed.acknowledged) == (REQUEST.pod_name, True, {})


async def test_an_answer_that_the_api_server_did_not_get_is_given_again(signing: Signing) -> None:
    """The agent was killed after the record; the next one, on the same store, asks for nothing."""
    answer = await signing.answer(REQUEST)
    restarted = PodRequests(signing.store._access)
    signing.clock.turn(seconds=HELD.total_seconds() + 1)
    held = await restarted.hold(REQUEST.uid, signing.clock())
    assert held.held
    assert json.loads(held.status or "") == answer
    # Nothing is signed a second time for it.
    with pytest.raises(KeyReused):
        await signing.signer.answer(REQUEST)
    await restarted.answered([REQUEST.uid])
    assert (await restarted.hold(REQUEST.uid, signing.clock())).status is None


async def test_an_answer_that_is_too_old_for_the_api_server_is_replaced_for_the_same_key(
    signing: Signing,
) -> None:
    first = await signing.answer(REQUEST)
    assert not status.is_outdated(first, signing.clock())
    signing.clock.turn(minutes=4)
    assert status.is_outdated(first, signing.clock())
    second = await signing.answer(REQUEST, replaces=True)
    assert times(second)[0] - times(first)[0] == timedelta(minutes=4)
    serials = [Blessing.from_pem(one["certificateChain"]).leaf.serial_number for one in (first, second)]
    listed = await signing.store.inventory.replicas(signing.clock(), limit=10)
    assert [one.serial for one in listed] == [f"{serials[1]:x}"]


async def test_one_of_two_agents_holds_a_request_and_the_other_takes_it_over_later(
    signing: Signing,
) -> None:
    ours, other = signing.store.pod_requests, PodRequests(signing.store._access)
    assert (await ours.hold("uid-1", signing.clock())).held
    shared = signing.store._access.database.is_shared
    assert (await other.hold("uid-1", signing.clock())).held is not shared
    assert (await ours.hold("uid-1", signing.clock())).held
    signing.clock.turn(seconds=HELD.total_seconds() + 1)
    assert (await other.hold("uid-1", signing.clock())).held
    assert (await ours.hold("uid-1", signing.clock())).held is not shared


async def test_a_request_that_is_gone_leaves_no_row(signing: Signing) -> None:
    await signing.answer(REQUEST)
    assert await signing.store.pod_requests.drop_old(signing.clock()) == 0
    signing.clock.turn(hours=2)
    assert await signing.store.pod_requests.drop_old(signing.clock()) == 1


async def test_a_pod_that_asks_again_and_again_is_bounded(signing: Signing) -> None:
    signing.signer.ttl = TtlPolicy(timedelta(hours=12), timedelta(minutes=5))
    lives = []
    for number in range(MOST_LIVE_OF_POD):
        begin, _, end = times(await signing.answer(anew(uid=str(number))))
        lives.append(end - begin - timedelta(minutes=1))
    assert lives == [timedelta(hours=12)] * MOST_OF_FULL_LIFE + [timedelta(hours=1)] * MOST_OF_FULL_LIFE
    refusal = await signing.refusal(anew())
    assert refusal.reason == "TooManyCertificates"
    assert not is_final(refusal)
    # Another Pod of the same application is not concerned.
    await signing.answer(anew(replace(REQUEST, pod_name="web-2", pod_uid="uid-of-web-2"), uid="of web-2"))


async def test_attack_a_revoked_replica_asks_with_a_new_key(signing: Signing) -> None:
    await signing.answer(REQUEST)
    await signing.store.revocations.revoke_replica(REQUEST.pod_uid, signing.clock())
    refusal = await signing.refusal(anew())
    assert refusal.reason == "Revoked"
    assert is_final(refusal)


async def test_attack_the_pods_of_a_revoked_application_ask_on(signing: Signing) -> None:
    await signing.answer(REQUEST)
    await signing.store.revocations.revoke_application(WEB, signing.clock())
    refusal = await signing.refusal(anew())
    assert (refusal.reason, is_final(refusal)) == ("ApplicationRevoked", True)
    await signing.store.revocations.reinstate_application(WEB)
    await signing.answer(anew())


async def test_an_application_revoked_while_its_request_is_under_way_gets_nothing(signing: Signing) -> None:
    await signing.answer(REQUEST)
    known = await signing.store.entitlements.of(WEB)
    assert known is not None
    await signing.store.revocations.revoke_application(WEB, signing.clock())

    class Stale:
        async def of(self, _: Application) -> object:
            return known

    signing.signer.entitlements = Stale()  # type: ignore[assignment]
    refusal = await signing.refusal(anew())
    assert (refusal.reason, is_final(refusal)) == ("EntitlementChanged", False)


async def test_an_entitlement_is_no_secret_that_a_keeper_is_told_of(signing: Signing) -> None:
    await signing.answer(REQUEST)
    assert await signing.secrets.live(signing.secret_keeper()) == []
    (replica,) = await signing.store.inventory.replicas(signing.clock(), limit=10)
    assert replica.application == WEB


async def test_an_issuer_that_ends_within_an_hour_signs_when_it_was_renewed(signing: Signing) -> None:
    identity = signing.room.identity
    signing.room.follow(replace(identity, longest_ttl=timedelta(minutes=30)))
    refusal = await signing.refusal(REQUEST)
    assert (refusal.reason, is_final(refusal)) == ("IssuerEnding", False)
    assert await signing.store.inventory.replicas(signing.clock(), limit=10) == []
    signing.room.follow(identity)
    await signing.answer(REQUEST)


async def test_an_entitlement_is_removed_a_day_after_it_was_made_when_no_certificate_is_left(
    signing: Signing,
) -> None:
    entitlements, issuances = signing.store.entitlements, signing.store.issuances
    await signing.answer(REQUEST)
    first = await entitlements.of(WEB)
    made = await signing.secrets.make(signing.administrator(), Application("shop", "idle"))
    for _ in range(2):  # new, then old with a live certificate
        assert await entitlements.drop_unused(signing.clock()) == 0
        assert await entitlements.of(WEB) == first
        signing.clock.turn(hours=25)
        await signing.answer(anew(uid=f"at {signing.clock()}"))
    signing.clock.turn(hours=2)
    await issuances.drop_expired(signing.clock())
    assert await entitlements.drop_unused(signing.clock()) == 1
    assert await entitlements.of(WEB) is None
    # Those of bootstrap credentials stay, and a Pod that is still there gets its next certificate.
    (kept,) = await signing.store.secrets.live(signing.clock())
    assert kept.id == made.secret.id
    await signing.answer(anew(uid="after the removal"))
    assert (await entitlements.of(WEB)) != first


async def test_attack_accounts_that_are_made_and_deleted_again_leave_no_entitlement_and_push_out_no_record(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster_agent.store.entitlements._DROPPED_AT_ONCE", 2)
    monkeypatch.setattr("cluster_agent.store.entitlements._DROP_UNUSED", drop_unused(2))
    for number in range(5):
        application = Application("hostile", f"account-{number}")
        record = Record("entitlement-made", signing.clock(), details={"application": "acme:prod:x"})
        assert await signing.store.entitlements.make(application, signing.clock(), record)
    assert kind_of(record) is Kind.ISSUING
    signing.clock.turn(hours=25)
    assert await signing.store.entitlements.drop_unused(signing.clock()) == 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotations": ("acme.test/name",)}, "UnknownAnnotation"),
        ({"node": "node-2"}, "OtherNode"),
        ({"pod_name": "web-3"}, "PodUnknown"),
        ({"service_account_uid": "an earlier one"}, "ServiceAccountGone"),
    ],
)
async def test_attack_nothing_is_signed_for_a_request_that_is_refused(
    signing: Signing, change: dict[str, Any], reason: str
) -> None:
    refusal = await signing.refusal(replace(REQUEST, **change))
    assert (refusal.reason, is_final(refusal)) == (reason, True)
    assert await signing.store.inventory.replicas(signing.clock(), limit=10) == []


async def test_attack_a_request_for_the_agents_own_key(signing: Signing) -> None:
    refusal = await signing.refusal(replace(REQUEST, csr=csr_for(signing.room.issuing)))
    assert refusal.reason == "KeyOfTheAgent"


async def test_volumes_have_a_root_when_their_kubelets_had_time_to_bring_it(signing: Signing) -> None:
    await signing.answer(REQUEST)
    fleet = signing.store.fleet

    async def share() -> Share:
        return await fleet.share("roots", 2, signing.clock(), volumes=True)

    assert await share() == Share(1, 0, 1, None)
    assert (await fleet.share("revocation-lists", 2, signing.clock())) == Share(0, 0)
    await fleet.published_to_kubelets("roots", 2, signing.clock(), again=False)
    at = signing.clock() + VOLUMES_REFRESHED
    assert await share() == Share(1, 0, 1, at)
    signing.clock.turn(minutes=5)
    await fleet.published_to_kubelets("roots", 2, signing.clock(), again=False)
    await fleet.drop_gone(signing.clock())
    signing.clock.turn(minutes=5)
    assert await share() == Share(1, 1, 1, at)
    # Another program had changed the bundle.
    await fleet.published_to_kubelets("roots", 2, signing.clock(), again=True)
    assert (await share()).acknowledged == 0
