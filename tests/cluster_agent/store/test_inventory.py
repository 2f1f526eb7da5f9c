"""What administrators are shown of replicas and revocations, page by page, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cluster_agent.audit import Record
from cluster_agent.model import Application, IssuedCertificate
from cluster_agent.store import Store
from tests.cluster_agent.store.test_store import NOW, SECRET, issuance

API = Application("shop", "api")
CERTIFICATE = IssuedCertificate("ab12", "acme:prod:shop:web", "3d:92", NOW + timedelta(days=30))


async def filled(store: Store) -> None:
    """Three replicas of two namespaces; the first has two certificates."""
    other = replace(
        SECRET, id="secret-2", certificate_fingerprint="credential-2", application=Application("till", "till")
    )
    await store.secrets.add(SECRET)
    await store.secrets.add(other)
    await store.issuances.add(issuance(1, certificate=CERTIFICATE), now=NOW)
    later = NOW + timedelta(hours=2)
    renewed = replace(CERTIFICATE, serial="cd34")
    await store.issuances.add(
        issuance(2, pod_uid="uid-1", pod_name="web-1", not_after=later, certificate=renewed)
    )
    await store.issuances.add(issuance(3, certificate=replace(CERTIFICATE, serial="3")))
    await store.issuances.add(issuance(4, secret_id="secret-2", not_after=later))


async def test_each_live_replica_is_listed_once_with_its_last_certificate(store: Store) -> None:
    await filled(store)
    await store.fleet.acknowledge("uid-1", {"roots": 2, "crl": 7}, NOW)
    first, *rest = await store.inventory.replicas(NOW, limit=10)
    assert (first.pod_uid, first.serial, first.not_after) == ("uid-1", "cd34", NOW + timedelta(hours=2))
    assert first.acknowledged == {"roots": 2, "crl": 7}
    assert not first.in_volume
    assert (first.application, first.secret_id) == (SECRET.application, SECRET.id)
    assert [one.pod_uid for one in rest] == ["uid-3", "uid-4"]
    assert (rest[1].serial, rest[1].issuer, rest[1].acknowledged) == (None, None, {})
    assert [one.pod_uid for one in await store.inventory.replicas(NOW, limit=2)] == ["uid-1", "uid-3"]
    assert [one.pod_uid for one in await store.inventory.replicas(NOW, limit=2, after="uid-3")] == ["uid-4"]
    assert [one.pod_uid for one in await store.inventory.replicas(NOW, limit=9, namespace="till")] == [
        "uid-4"
    ]
    assert [one.pod_uid for one in await store.inventory.replicas(NOW, limit=9, pod_uid="uid-3")] == ["uid-3"]
    assert [one.pod_uid for one in await store.inventory.replicas(NOW + timedelta(hours=1), limit=9)] == [
        "uid-1",
        "uid-4",
    ]


async def test_a_revoked_replica_is_no_longer_live_and_is_among_the_revocations(store: Store) -> None:
    await filled(store)
    await store.revocations.revoke_replica("uid-3", NOW)
    await store.revocations.revoke_replica("uid-9", NOW, ahead=True)
    await store.revocations.revoke_replica("uid-4", NOW)
    assert [one.pod_uid for one in await store.inventory.replicas(NOW, limit=9)] == ["uid-1"]
    found = await store.inventory.revoked_replicas(limit=9)
    assert [(one.pod_uid, one.pod_name, one.application) for one in found] == [
        ("uid-3", "web-3", SECRET.application),
        ("uid-4", "web-4", Application("till", "till")),
        ("uid-9", None, None),
    ]
    assert [one.pod_uid for one in await store.inventory.revoked_replicas(limit=1, after="uid-3")] == [
        "uid-4"
    ]


async def test_a_certificate_that_was_revoked_with_its_secret_makes_no_live_replica(store: Store) -> None:
    await filled(store)
    await store.revocations.revoke_secret(SECRET.id, NOW)
    assert [one.pod_uid for one in await store.inventory.replicas(NOW, limit=9)] == ["uid-4"]


async def test_deleted_pods_are_among_the_revocations_only_when_asked_for(store: Store) -> None:
    await filled(store)
    await store.revocations.revoke_gone(["uid-3"], NOW, Record("pod-gone", NOW))
    assert await store.inventory.revoked_replicas(limit=9) == []
    (gone,) = await store.inventory.revoked_replicas(limit=9, gone=True)
    assert (gone.pod_uid, gone.gone, gone.revoked_at) == ("uid-3", True, NOW)


async def test_revoked_applications_are_listed_in_order(store: Store) -> None:
    await filled(store)
    for application in (SECRET.application, API, Application("a", "z")):
        await store.revocations.revoke_application(application, NOW, ahead=True)
    listed = await store.inventory.revoked_applications(limit=9)
    assert [str(one.application) for one in listed] == ["a/z", "shop/api", "shop/web"]
    after = await store.inventory.revoked_applications(limit=1, after=API)
    assert [str(one.application) for one in after] == ["shop/web"]
