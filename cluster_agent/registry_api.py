"""The registry's routes, for administrators."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from cluster_agent.applications import Application
from cluster_agent.registering import Registering
from cluster_agent.registry import Registration
from cluster_agent.request_callers import Authenticated

_DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_log = structlog.get_logger(__name__)


class UnregisterRequest(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    namespace: str = Field(max_length=63, pattern=_DNS_NAME)
    service_account: str = Field(max_length=253, pattern=_DNS_NAME)


class RegisterRequest(UnregisterRequest):
    name: str = Field(max_length=2048, description="the application's, acme:fortuned")
    ttl_seconds: int | None = Field(default=None, ge=1, description="life of its replicas' certificates")
    chain: str | None = Field(
        default=None,
        max_length=32768,
        description="PEM, of the agent's key, for a name that it was not granted",
    )


def registry_routes(registering: Registering) -> APIRouter:
    """POST /v1/register-application and /v1/unregister-application, GET /v1/applications."""
    router = APIRouter()

    @router.post("/v1/register-application")
    async def register(body: RegisterRequest, caller: Authenticated) -> dict[str, Any]:
        application = Application(body.namespace, body.service_account)
        registered = await registering.register(caller, application, body.name, body.ttl_seconds, body.chain)
        _log.info("application registered", caller=str(caller.name), **_described(registered))
        return _described(registered)

    @router.post("/v1/unregister-application")
    async def unregister(body: UnregisterRequest, caller: Authenticated) -> dict[str, Any]:
        application = Application(body.namespace, body.service_account)
        known = await registering.unregister(caller, application)
        _log.info(
            "application unregistered",
            caller=str(caller.name),
            namespace=body.namespace,
            serviceAccount=body.service_account,
            known=known,
        )
        return {"known": known}

    @router.get("/v1/applications")
    async def applications(caller: Authenticated) -> dict[str, Any]:
        return {"applications": [_described(one) for one in await registering.registered(caller)]}

    return router


def _described(one: Registration) -> dict[str, Any]:
    return {
        "namespace": one.application.namespace,
        "serviceAccount": one.application.service_account,
        "name": str(one.name),
        "ttlSeconds": one.ttl_seconds,
        "grantedUntil": None if one.chain is None else one.chain.not_after.isoformat(),
    }
