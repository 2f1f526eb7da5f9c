"""The routes by which replicas get new publications, and administrators see which replicas have them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import Field

from cluster_agent.api.contract import Answer, Body, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst
from cluster_agent.api.revocation import MOST_ISSUERS, IssuerName
from cluster_agent.callers import Administrators, require_administrator
from cluster_agent.issuing.replica_issuer import ReplicaIssuer
from cluster_agent.kubernetes.beginnings import BeginningEvents, Begun
from cluster_agent.publications import Publications
from service.beginning import HEADER, STEPS, read

_Kind = Annotated[str, Field(max_length=64)]
_Version = Annotated[int, Field(ge=0, le=2**53)]
_Begun = Annotated[
    str | None,
    Header(
        alias=HEADER,
        description=f"once after the start: milliseconds from the start of the pod agent's process until the "
        f"steps {', '.join(STEPS)}, with commas between them, for an Event on the Pod; anything else is "
        "ignored",
    ),
]


class WatchRequest(Body):
    have: dict[_Kind, _Version] = Field(
        max_length=16, description="kind → the version that the caller has, 0 for none"
    )
    issuers: list[IssuerName] = Field(
        default=[], max_length=MOST_ISSUERS, description="whose revocation lists the caller uses"
    )


class PublicationAnswer(Answer):
    version: int
    content: Any = Field(description="depends on the kind: the roots, or which lists `issuers` have")


class WatchAnswer(Answer):
    publications: dict[str, PublicationAnswer] = Field(description="kind → what the caller lacks")
    ask_again_after_seconds: int


class Acknowledged(Answer):
    version: int
    required: int = Field(description="the lowest version with which a replica is up to date")
    live_replicas: int
    acknowledged: int
    share: float = Field(description="0 to 1")


class AcknowledgementsAnswer(Answer):
    kinds: dict[str, Acknowledged]


def watch_routes(
    issuer: ReplicaIssuer,
    publications: Publications,
    administrators: Administrators,
    beginnings: BeginningEvents | None,
) -> APIRouter:
    """`POST /v1/watch` for replicas, `GET /v1/acknowledgements` for administrators. `beginnings` is None
    where no API server is asked."""
    router = APIRouter(route_class=CallerFirst)

    @router.post("/v1/watch", summary="What is new", responses=refuses(400, 401, 403, 415, 503))
    async def watch(body: WatchRequest, caller: Authenticated, begun: _Begun = None) -> WatchAnswer:
        """For replicas, with their certificate: they state which versions they have, which is their
        acknowledgement, and get what they lack."""
        secret, replica = await issuer.entitled_replica(caller)
        milliseconds = None if begun is None else read(begun)
        if beginnings is not None and milliseconds is not None:
            beginnings.note(Begun.told(secret.application, replica, milliseconds))
        return WatchAnswer.model_validate(await publications.answer(replica, body.have, body.issuers))

    @router.get(
        "/v1/acknowledgements",
        summary="The share of the live replicas that has each publication",
        responses=refuses(401, 403, 503),
    )
    async def acknowledgements(caller: Authenticated) -> AcknowledgementsAnswer:
        """For administrators. Counted every half minute."""
        require_administrator(caller, administrators)
        return AcknowledgementsAnswer.model_validate({"kinds": publications.describe()})

    return router
