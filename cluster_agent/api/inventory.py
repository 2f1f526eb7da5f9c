"""The routes by which administrators look: live replicas, and what is revoked, in pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from blessings import Name
from blessings.encoding.times import rfc3339
from cluster_agent.api.contract import DNS_NAME, PRINTABLE, Answer, Rfc3339, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst
from cluster_agent.callers import Administrators, require_administrator
from cluster_agent.model import Application
from cluster_agent.store.inventory import Inventory, LiveReplica, RevokedApplication, RevokedReplica

_MOST = 1000
_APPLICATION, _REPLICA = "application", "replica"
Limit = Annotated[int, Query(ge=1, le=_MOST, description="at most so many")]
OfNamespace = Annotated[
    str | None, Query(max_length=63, pattern=DNS_NAME, description="of this namespace only")
]
PodUid = Annotated[str | None, Query(max_length=128, pattern=PRINTABLE, description="of this pod only")]
After = Annotated[
    str | None, Query(max_length=128, pattern=PRINTABLE, description="`following` of the previous page")
]
AfterRevoked = Annotated[
    str | None,
    Query(
        max_length=340,
        pattern=rf"^({_APPLICATION}/[-a-z0-9.]+/[-a-z0-9.]+|{_REPLICA}/[!-~]*)$",
        description="`following` of the previous page",
    ),
]
Gone = Annotated[bool, Query(description="also pods that were revoked because they were deleted")]


class ReplicaAnswer(Answer):
    """A live replica, with the last of its certificates."""

    name: str = Field(description="acme:prod:shop:web:web-1")
    namespace: str
    service_account: str
    pod: str
    pod_uid: str
    secret: str = Field(description="id of the secret that it was issued under")
    serial: str | None = Field(description="of the certificate, in hex; null: issued by version 0.1.0")
    public_key: str = Field(description="fingerprint")
    not_after: Rfc3339
    acknowledged: dict[str, int] = Field(
        description="kind of publication → version that its pod agent stated that it has"
    )
    delivery: Literal["sidecar", "volume"] = Field(
        description="who keeps the certificate: the pod agent, or the kubelet, which acknowledges nothing"
    )


class ReplicasAnswer(Answer):
    replicas: list[ReplicaAnswer]
    following: str | None = Field(description="`after` of the next page; null: this is the last")


class RevocationAnswer(Answer):
    """A revoked application, or a revoked pod."""

    kind: str = Field(description=f"{_APPLICATION} or {_REPLICA}")
    namespace: str | None = Field(description="null: no certificate of the pod is recorded any longer")
    service_account: str | None
    pod: str | None
    pod_uid: str | None
    gone: bool = Field(description="whether the pod was deleted")
    revoked_at: Rfc3339


class RevocationsAnswer(Answer):
    revocations: list[RevocationAnswer]
    following: str | None = Field(description="`after` of the next page; null: this is the last")


@dataclass
class Shown:
    """What the routes read."""

    inventory: Inventory
    prefix: Name
    administrators: Administrators
    now: Callable[[], datetime]


def inventory_routes(shown: Shown) -> APIRouter:
    """`GET /v1/replicas`, `GET /v1/revocations`."""
    router = APIRouter(route_class=CallerFirst)

    @router.get("/v1/replicas", summary="The live replicas", responses=refuses(400, 401, 403, 503))
    async def replicas(
        caller: Authenticated,
        after: After = None,
        limit: Limit = _MOST,
        namespace: OfNamespace = None,
        pod_uid: Annotated[PodUid, Query(alias="podUid")] = None,
    ) -> ReplicasAnswer:
        """For administrators, in pages. A replica is live while it has a valid certificate and was not
        revoked."""
        require_administrator(caller, shown.administrators)
        found = await shown.inventory.replicas(
            shown.now(), limit=limit + 1, after=after or "", namespace=namespace, pod_uid=pod_uid
        )
        page = found[:limit]
        return ReplicasAnswer(
            replicas=[_replica(one, shown.prefix) for one in page],
            following=page[-1].pod_uid if len(found) > limit else None,
        )

    @router.get("/v1/revocations", summary="What is revoked", responses=refuses(400, 401, 403, 503))
    async def revocations(
        caller: Authenticated, after: AfterRevoked = None, limit: Limit = _MOST, gone: Gone = False
    ) -> RevocationsAnswer:
        """For administrators, in pages: applications that get no secrets, then pods that get no certificates.
        A pod is listed as long as one of its certificates could be valid, and a day if it was deleted."""
        require_administrator(caller, shown.administrators)
        kind, _, place = (after or "").partition("/")
        found: list[tuple[str, RevocationAnswer]] = []
        if kind != _REPLICA:
            last = Application(*place.split("/")) if place else None
            applications = await shown.inventory.revoked_applications(limit=limit + 1, after=last)
            found += [
                (f"{_APPLICATION}/{one.application}", _revoked_application(one)) for one in applications
            ]
            place = ""
        if len(found) <= limit:
            pods = await shown.inventory.revoked_replicas(
                limit=limit + 1 - len(found), after=place, gone=gone
            )
            found += [(f"{_REPLICA}/{one.pod_uid}", _revoked_replica(one)) for one in pods]
        return RevocationsAnswer(
            revocations=[answer for _, answer in found[:limit]],
            following=found[limit - 1][0] if len(found) > limit else None,
        )

    return router


def _replica(one: LiveReplica, prefix: Name) -> ReplicaAnswer:
    # A certificate of version 0.1.0, which had no registered names, has no recorded issuer.
    issuer = one.issuer or str(one.application.name_under(prefix))
    return ReplicaAnswer(
        name=f"{issuer}:{one.pod_name}",
        namespace=one.application.namespace,
        service_account=one.application.service_account,
        pod=one.pod_name,
        pod_uid=one.pod_uid,
        secret=one.secret_id,
        serial=one.serial,
        public_key=one.public_key_fingerprint,
        not_after=rfc3339(one.not_after),
        acknowledged=one.acknowledged,
        delivery="volume" if one.in_volume else "sidecar",
    )


def _revoked_application(one: RevokedApplication) -> RevocationAnswer:
    return RevocationAnswer(
        kind=_APPLICATION,
        namespace=one.application.namespace,
        service_account=one.application.service_account,
        pod=None,
        pod_uid=None,
        gone=False,
        revoked_at=rfc3339(one.revoked_at),
    )


def _revoked_replica(one: RevokedReplica) -> RevocationAnswer:
    return RevocationAnswer(
        kind=_REPLICA,
        namespace=one.application.namespace if one.application else None,
        service_account=one.application.service_account if one.application else None,
        pod=one.pod_name,
        pod_uid=one.pod_uid,
        gone=one.gone,
        revoked_at=rfc3339(one.revoked_at),
    )
