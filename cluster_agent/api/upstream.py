"""The routes for the chain by which a claimed agent names applications.

Administrators see it, and replace it by a new one that their root, which may be offline, signed for the
agent's certificate request.
"""

from __future__ import annotations

import structlog
from fastapi import APIRouter
from pydantic import Field

from cluster_agent.api.contract import Answer, Body, Rfc3339, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst
from cluster_agent.callers import require_administrator
from cluster_agent.claims.certificate_request import certificate_request
from cluster_agent.claims.claim_keeper import ClaimKeeper
from cluster_agent.signing.issuer_life import Life

_log = structlog.get_logger("cluster_agent")


class ChainImport(Body):
    chain: str = Field(max_length=32768, description="PEM, for the agent's key, without the root or with it")


class UpstreamAnswer(Answer):
    csr: str = Field(description="PKCS #10 in PEM, for the next chain")
    root: str = Field(description="where the root comes from: self-made, mounted, claimed")
    name: str = Field(description="the agent may name applications below it")
    not_after: Rfc3339
    seconds_left: int = Field(description="below 0 when it has expired")


class RenewedAnswer(Answer):
    not_after: Rfc3339


def upstream_routes(claims: ClaimKeeper) -> APIRouter:
    """`GET /v1/upstream`, `POST /v1/upstream`."""
    router = APIRouter(prefix="/v1/upstream", route_class=CallerFirst)

    @router.get(
        "", summary="The chain that the agent names applications by", responses=refuses(401, 403, 503)
    )
    async def upstream(caller: Authenticated) -> UpstreamAnswer:
        """For administrators."""
        require_administrator(caller, claims.administrators)
        signing = claims.room.identity.signing
        life = Life.of(signing.blessing)
        return UpstreamAnswer(
            csr=certificate_request(claims.room.issuing, claims.prefix),
            root=claims.room.kind,
            name=str(signing.name),
            not_after=life.not_after.isoformat(),
            seconds_left=int(life.left(claims.now()).total_seconds()),
        )

    @router.post("", summary="Install a later chain", responses=refuses(400, 401, 403, 409, 415, 503))
    async def renew_upstream(body: ChainImport, caller: Authenticated) -> RenewedAnswer:
        """For administrators of a claimed agent: a chain under the same root that lasts longer."""
        require_administrator(caller, claims.administrators)
        renewed = await claims.renew(body.chain, by=caller.name)
        _log.info("chain renewed", caller=str(caller.name), notAfter=renewed.chain.not_after.isoformat())
        return RenewedAnswer(not_after=renewed.chain.not_after.isoformat())

    return router
