"""The routes by which replicas learn what is new, and administrators who has learnt it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from cluster_agent.callers import require_administrator
from cluster_agent.issuing import ClusterAgent
from cluster_agent.publications import Publications
from cluster_agent.request_callers import Authenticated

_Kind = Annotated[str, Field(max_length=64)]
_Version = Annotated[int, Field(ge=0, le=2**53)]


class WatchRequest(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    have: dict[_Kind, _Version] = Field(
        max_length=16, description="kind → the version that is in force at the caller, 0 for none"
    )


def watch_routes(agent: ClusterAgent, publications: Publications) -> APIRouter:
    """`POST /v1/watch` for replicas, `GET /v1/acknowledgements` for administrators."""
    router = APIRouter()

    @router.post("/v1/watch")
    async def watch(body: WatchRequest, caller: Authenticated) -> dict[str, Any]:
        return await publications.answer(await agent.replica(caller), body.have)

    @router.get("/v1/acknowledgements")
    async def acknowledgements(caller: Authenticated) -> dict[str, Any]:
        require_administrator(caller, agent.administrators)
        return {"kinds": publications.describe()}

    return router
