"""Administrators look at the identity roots' phases, and take steps by hand."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from cluster_agent.callers import Caller, require_administrator
from cluster_agent.issuing import ClusterAgent
from cluster_agent.request_callers import Authenticated
from cluster_agent.root_keeping import RootKeeper

_log = structlog.get_logger("cluster_agent")


class RootStep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=128, description="fingerprint of the root's key, as GET says it")
    force: bool = Field(default=False, description="even while replicas may be cut off by it")


def root_routes(agent: ClusterAgent, keeper: RootKeeper) -> APIRouter:
    """`GET /v1/identity-roots`, and `POST` to `/prepare`, `/activate` and `/withdraw` below it."""
    router = APIRouter(prefix="/v1/identity-roots")

    @router.get("")
    async def look(caller: Authenticated) -> dict[str, Any]:
        require_administrator(caller, agent.administrators)
        return await keeper.describe()

    @router.post("/prepare")
    async def prepare(caller: Authenticated) -> dict[str, Any]:
        require_administrator(caller, agent.administrators)
        await keeper.prepare(by=caller.name)
        _note("prepare", caller)
        return await keeper.describe()

    @router.post("/activate")
    async def activate(body: RootStep, caller: Authenticated) -> dict[str, Any]:
        require_administrator(caller, agent.administrators)
        await keeper.activate(body.key, force=body.force, by=caller.name)
        _note("activate", caller, body)
        return await keeper.describe()

    @router.post("/withdraw")
    async def withdraw(body: RootStep, caller: Authenticated) -> dict[str, Any]:
        require_administrator(caller, agent.administrators)
        await keeper.withdraw(body.key, force=body.force, by=caller.name)
        _note("withdraw", caller, body)
        return await keeper.describe()

    return router


def _note(step: str, caller: Caller, body: RootStep | None = None) -> None:
    details = {} if body is None else {"key": body.key, "force": body.force}
    _log.info("step of the roots taken by hand", step=step, caller=str(caller.name), **details)
