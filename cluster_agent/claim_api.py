"""The calls around a claim. Anybody may make them over TLS; a claim needs the code."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from cluster_agent.claiming import Claiming
from cluster_agent.request_callers import anybody


class ClaimRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: str = Field(max_length=4096, description="what is in the agent's claim code file")
    chain: str = Field(max_length=32768, description="PEM, of the agent's key, without the root")
    root: str = Field(max_length=8192, description="PEM, the root certificate")
    administrators: dict[str, list[str]] = Field(description="access list: in, not_in")


def claim_routes(claiming: Claiming) -> APIRouter:
    """GET /v1/claim says what there is to claim, or whose it is; POST /v1/claim claims."""
    router = APIRouter(dependencies=[Depends(anybody)])
    agent = claiming.agent

    @router.get("/v1/claim")
    async def what_to_claim() -> dict[str, Any]:
        return {
            "root": agent.room.kind,
            "prefix": str(agent.prefix),
            "csr": claiming.csr,
            "roots": agent.room.identity_roots.to_json(),
        }

    @router.post("/v1/claim")
    async def claim(body: ClaimRequest) -> dict[str, Any]:
        claimed = await claiming.claim(body.code, body.chain, body.root, body.administrators)
        return {
            "prefix": str(agent.prefix),
            "roots": agent.room.identity_roots.to_json(),
            "administrators": claimed.administrators.to_value(),
        }

    return router
