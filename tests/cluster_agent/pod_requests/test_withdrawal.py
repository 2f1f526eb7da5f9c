"""Applications in volumes that lose their namespace's label, or their service account."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from blessings import Blessing
from cluster_agent.audit.kinds import Kind
from cluster_agent.errors import Unavailable
from cluster_agent.pod_requests.withdrawal import Withdrawal
from cluster_agent.store.audit_search import Wanted
from tests.cluster_agent.pod_requests.test_checks import POD, REQUEST
from tests.cluster_agent.pod_requests.test_signer import Signing, anew


@dataclass
class Cluster:
    """An API server: the namespaces without the label, the service accounts that are gone, and who asked."""

    unlabelled: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    away: bool = False
    unreadable: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def lacks_label(self, namespace: str) -> bool:
        self.asked.append(namespace)
        if self.away:
            raise Unavailable("ApiServerAway", "no answer")
        return namespace in self.unlabelled

    async def lacks_service_account(self, namespace: str, name: str) -> bool:
        self.asked.append(f"{namespace}/{name}")
        if f"{namespace}/{name}" in self.unreadable:
            raise Unavailable("ApiServerAway", "no answer")
        return f"{namespace}/{name}" in self.gone


@pytest.fixture
async def signing(tmp_path: Path, store_url: str) -> AsyncIterator[Signing]:
    one = Signing(tmp_path, store_url)
    yield one
    await one.store.close()


async def issued(signing: Signing, account: str) -> str:
    """The serial number of a new certificate of shop/`account`."""
    pod = f"{account}-1"
    uid = f"uid-of-{pod}"
    signing.api.pods[pod] = replace(POD, uid=uid, service_account=account)
    request = replace(
        anew(uid=f"for-{pod}-{signing.clock().timestamp()}"),
        pod_name=pod,
        pod_uid=uid,
        service_account=account,
        service_account_uid=f"uid-of-{account}",
    )
    chain = Blessing.from_pem((await signing.answer(request))["certificateChain"])
    return f"{chain.leaf.serial_number:x}"


async def revoked(signing: Signing) -> set[str]:
    found = await signing.store.published_revocations.certificates(signing.clock() - timedelta(hours=1))
    return {one.serial for one in found}


def withdrawal(
    signing: Signing,
    cluster: Cluster,
    told: list[bool],
    sleep: Callable[[float], Awaitable[None]] | None = None,
) -> Withdrawal:
    async def refresh() -> None:
        told.append(True)

    store = signing.store
    return Withdrawal(
        store.entitlements, store.revocations, cluster, refresh, signing.clock, sleep or no_pause
    )


async def no_pause(_seconds: float) -> None:
    pass


@pytest.mark.parametrize(
    ("api", "why"),
    [
        (Cluster(unlabelled={REQUEST.namespace}), "NamespaceNotLabelled"),
        (Cluster(gone={f"{REQUEST.namespace}/web"}), "ServiceAccountGone"),
    ],
)
async def test_certificates_of_an_application_that_may_have_none_are_revoked(
    signing: Signing, api: Cluster, why: str
) -> None:
    serials, told = {await issued(signing, "web")}, list[bool]()
    looking = withdrawal(signing, api, told)
    await looking.look()
    assert await revoked(signing) == serials
    assert told
    day = timedelta(days=1)
    wanted = Wanted(signing.clock() - day, signing.clock() + day, ['"act":"secret-forgotten"'])
    ((place, text),) = await signing.store.audit_search.records(wanted, limit=10)
    record = json.loads(text)
    assert (record["why"], record["certificates"], record["serviceAccount"]) == (why, 1, "web")
    assert place.chain.startswith(Kind.REVOCATIONS)
    # A second round finds nothing to ask about.
    api.asked.clear()
    await looking.look()
    assert api.asked == []


async def test_a_namespace_is_asked_about_once_however_many_applications_it_has(signing: Signing) -> None:
    for account in ("api", "web"):
        await issued(signing, account)
    cluster, told = Cluster(gone={"shop/api"}), list[bool]()
    await withdrawal(signing, cluster, told).look()
    assert cluster.asked == ["shop", "shop/api", "shop/web"]
    assert len(await revoked(signing)) == 1


async def test_a_label_that_is_there_again_in_the_middle_of_a_round_ends_the_withdrawal(
    signing: Signing,
) -> None:
    serials = {account: await issued(signing, account) for account in ("api", "web")}
    cluster = Cluster(unlabelled={"shop"})

    async def label_again(_seconds: float) -> None:
        cluster.unlabelled.clear()

    await withdrawal(signing, cluster, [], label_again).look()
    assert await revoked(signing) == {serials["api"]}


async def test_the_api_server_is_asked_slowly_however_many_applications_there_are(signing: Signing) -> None:
    for account in ("api", "cart", "web"):
        await issued(signing, account)
    pauses = list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await withdrawal(signing, Cluster(), [], sleep).look()
    assert pauses == [0.05] * 3


async def test_a_round_that_failed_is_gone_on_with_so_that_each_application_has_its_turn(
    signing: Signing,
) -> None:
    for account in ("api", "cart", "web"):
        await issued(signing, account)
    cluster = Cluster(unreadable={"shop/cart"})
    looking = withdrawal(signing, cluster, [])
    with pytest.raises(Unavailable):
        await looking.look()
    cluster.asked.clear()
    with pytest.raises(Unavailable):
        await looking.look()
    assert cluster.asked == ["shop", "shop/web", "shop/api", "shop/cart"]


async def test_an_api_server_that_does_not_answer_withdraws_nothing(signing: Signing) -> None:
    await issued(signing, "web")
    cluster, told = Cluster(unlabelled={"shop"}, away=True), list[bool]()
    with pytest.raises(Unavailable):
        await withdrawal(signing, cluster, told).look()
    assert (await revoked(signing), told) == (set(), [])


async def test_an_application_whose_namespace_has_its_label_again_gets_certificates_again(
    signing: Signing,
) -> None:
    before = await issued(signing, "web")
    cluster, told = Cluster(unlabelled={"shop"}), list[bool]()
    looking = withdrawal(signing, cluster, told)
    await looking.look()
    cluster.unlabelled.clear()
    signing.clock.turn(seconds=2)
    after = await issued(signing, "web")
    await looking.look()
    assert await revoked(signing) == {before}
    assert after != before


async def test_an_application_whose_certificates_ended_is_not_asked_about(signing: Signing) -> None:
    await issued(signing, "web")
    signing.clock.turn(hours=2)
    cluster, told = Cluster(), list[bool]()
    await withdrawal(signing, cluster, told).look()
    assert cluster.asked == []
