"""The routes of a claim. Every client may call them over TLS; a claim needs the code."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import Field

from cluster_agent.api.contract import Answer, Body, RootAnswer, refuses, roots_of
from cluster_agent.api.request_callers import CallerFirst, anybody
from cluster_agent.claims.claim_keeper import ClaimKeeper


class ClaimRequest(Body):
    code: str = Field(max_length=4096, description="the content of the agent's claim code file")
    chain: str = Field(max_length=32768, description="PEM, for the agent's key, without the root")
    root: str = Field(max_length=8192, description="PEM, the root certificate")
    administrators: dict[str, list[str]] = Field(description="access list: in, not_in")


class ClaimableAnswer(Answer):
    root: str = Field(description="where the root comes from: self-made, mounted, claimed, unclaimed")
    prefix: str = Field(description="the name that a claim must delegate")
    csr: str = Field(description="PKCS #10 in PEM, of the key to bless in a claim")
    roots: list[RootAnswer] = Field(description="none while unclaimed")


class ClaimedAnswer(Answer):
    prefix: str
    roots: list[RootAnswer]
    administrators: dict[str, list[str]] = Field(description="access list: in, not_in")


def claim_routes(claims: ClaimKeeper) -> APIRouter:
    """GET /v1/claim describes what there is to claim, or the claim that was made; POST /v1/claim claims."""
    router = APIRouter(route_class=CallerFirst, dependencies=[Depends(anybody)])

    @router.get("/v1/claim", summary="What there is to claim, or the claim", responses=refuses())
    async def what_to_claim() -> ClaimableAnswer:
        """Before a claim there are no roots, and the request is for the key to bless."""
        return ClaimableAnswer(
            root=claims.room.kind,
            prefix=str(claims.prefix),
            csr=claims.csr,
            roots=roots_of(claims.room),
        )

    @router.post("/v1/claim", summary="Claim the agent, once", responses=refuses(400, 403, 409, 415, 503))
    async def claim(body: ClaimRequest) -> ClaimedAnswer:
        """For an administrator who knows the claim code: gives the agent a root, a chain for its key and its
        prefix, and administrators. Needs no client certificate, because no client can have one yet."""
        claimed = await claims.claim(body.code, body.chain, body.root, body.administrators)
        administrators = claimed.administrators.to_value()
        return ClaimedAnswer.model_validate(
            {"prefix": str(claims.prefix), "roots": roots_of(claims.room), "administrators": administrators}
        )

    return router
