"""The routes that describe the agent, for every client."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import Field

from cluster_agent.api.contract import Answer, RootAnswer, refuses, roots_of
from cluster_agent.api.request_callers import CallerFirst, anybody
from cluster_agent.attestation import Attestor
from cluster_agent.signing.room import SigningRoom


class Health(Answer):
    status: str = Field(description="ok")
    attestor: str = Field(description="the attestor of tokens: token-review, jwks")
    root: str = Field(description="where the root comes from: self-made, mounted, claimed, unclaimed")


class RootsAnswer(Answer):
    roots: list[RootAnswer]


def public_routes(room: SigningRoom, attestor: Attestor) -> APIRouter:
    """`GET /healthz` and `GET /v1/roots`."""
    router = APIRouter(route_class=CallerFirst, dependencies=[Depends(anybody)])

    @router.get("/healthz", summary="Whether the program answers", responses=refuses())
    async def healthz() -> Health:
        """Also states the program's configuration. Readiness is on the health port."""
        return Health(status="ok", attestor=attestor.kind, root=room.kind)

    @router.get("/v1/roots", summary="The identity roots", responses=refuses())
    async def roots() -> RootsAnswer:
        """The roots for verifying replicas; none while no administrator has claimed the agent."""
        return RootsAnswer(roots=roots_of(room))

    return router
