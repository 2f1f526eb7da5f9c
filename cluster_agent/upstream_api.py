"""The chain by which a claimed agent names applications: administrators look at it, and renew it with one
that their root, which may be offline, signed for the agent's certificate request."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from cluster_agent.callers import require_administrator
from cluster_agent.claiming import Claiming
from cluster_agent.issuer_life import Life
from cluster_agent.request_callers import Authenticated
from cluster_agent.upstream_request import certificate_request

_log = structlog.get_logger("cluster_agent")


class ChainImport(BaseModel):
    model_config = ConfigDict(extra="forbid")

    chain: str = Field(max_length=32768, description="PEM, of the agent's key, without the root or with it")


def upstream_routes(claiming: Claiming) -> APIRouter:
    """`GET /v1/upstream`, `POST /v1/upstream`."""
    router = APIRouter(prefix="/v1/upstream")
    agent = claiming.agent

    @router.get("")
    async def look(caller: Authenticated) -> dict[str, Any]:
        require_administrator(caller, agent.administrators)
        signing = agent.room.identity.signing
        life = Life.of(signing.blessing)
        return {
            "csr": certificate_request(agent.room.issuing, agent.prefix),
            "root": agent.room.kind,
            "name": str(signing.name),
            "notAfter": life.not_after.isoformat(),
            "secondsLeft": int(life.left(agent.now()).total_seconds()),
        }

    @router.post("")
    async def renew(body: ChainImport, caller: Authenticated) -> dict[str, Any]:
        require_administrator(caller, agent.administrators)
        renewed = await claiming.renew(body.chain, by=caller.name)
        _log.info("chain renewed", caller=str(caller.name), notAfter=renewed.chain.not_after.isoformat())
        return {"notAfter": renewed.chain.not_after.isoformat()}

    return router
