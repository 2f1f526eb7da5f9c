"""The HTTP face of the cluster agent: JSON in, JSON out, the caller from the TLS connection."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.telemetry import TelemetryConfig
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.types import Scope

from cluster_agent.applications import Application
from cluster_agent.audit.refusals import Refusals
from cluster_agent.body_limit import BodyLimit
from cluster_agent.callers import Caller, KnownCallers
from cluster_agent.connections import client_blessing
from cluster_agent.error_answers import answer_errors
from cluster_agent.errors import BadRequest, NotAuthenticated
from cluster_agent.issuing import ClusterAgent, IssuedSecret
from cluster_agent.metrics import Metrics
from cluster_agent.rate_limits import RateLimits
from cluster_agent.request_callers import Authenticated, address_of, anybody
from cluster_agent.serving import Serving

MAX_BODY_BYTES = 64 * 1024
CREDENTIAL_VERSION = 1
# FastAPI's own would record what callers write, paths and queries; ours is in tracing.py.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
_DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

_log = structlog.get_logger(__name__)


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class NewSecretRequest(_Body):
    namespace: str = Field(max_length=63, pattern=_DNS_NAME)
    service_account: str = Field(max_length=253, pattern=_DNS_NAME)


class ForgetSecretRequest(_Body):
    id: str = Field(min_length=1, max_length=64)
    revoke: bool = Field(
        default=False, description="also what was issued under it; false for a secret that has a successor"
    )


class SeekBlessingsRequest(_Body):
    csr: str = Field(max_length=8192, description="PKCS #10 in PEM; only its key is used")
    token: str = Field(default="", max_length=32768, description="service-account token bound to the pod")
    ttl_seconds: int | None = Field(default=None, ge=1, description="asks for a shorter life")


def create_app(
    agent: ClusterAgent, serving: Serving, metrics: Metrics, limits: RateLimits, refusals: Refusals
) -> FastAPI:
    """The application. It answers refusals as `{"error": {"reason", "message"}}`."""
    app = FastAPI(
        title="Vanadium cluster agent",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=_NO_TELEMETRY,
    )
    note = answer_errors(app, metrics, refusals)

    def too_large(scope: Scope) -> None:
        note(Request(scope), BadRequest("BodyTooLarge", f"more than {MAX_BODY_BYTES} bytes"))

    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES, refused=too_large)

    known = KnownCallers()

    def caller_of(request: Request) -> Caller:
        roots = serving.control_plane_roots + agent.room.bootstrap_roots + agent.room.identity_roots
        try:
            caller = known.identify(client_blessing(request.scope), roots, agent.now())
        except NotAuthenticated:
            limits.take_for_address(address_of(request))
            raise
        request.state.caller = caller
        administers = agent.administrators.allow_secrets(caller)
        limits.take_for_caller(caller, address_of(request), administers=administers)
        return caller

    app.state.caller_of = caller_of
    app.state.limits = limits

    @app.get("/healthz", dependencies=[Depends(anybody)])
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "attestor": agent.attestor.kind, "root": agent.room.kind}

    @app.get("/v1/roots", dependencies=[Depends(anybody)])
    async def roots() -> dict[str, Any]:
        return {"roots": agent.room.identity_roots.to_json()}

    @app.post("/v1/new-secret")
    async def new_secret(body: NewSecretRequest, caller: Authenticated) -> dict[str, Any]:
        issued = await agent.new_secret(caller, Application(body.namespace, body.service_account))
        _log.info("secret made", id=issued.secret.id, application=str(issued.name), caller=str(caller.name))
        return {
            "id": issued.secret.id,
            "application": str(issued.name),
            "notAfter": _rfc3339(issued.secret.not_after),
            "credential": _credential(issued, serving),
        }

    @app.get("/v1/secrets")
    async def secrets(caller: Authenticated) -> dict[str, Any]:
        return {
            "secrets": [
                {
                    "id": secret.id,
                    "namespace": secret.application.namespace,
                    "serviceAccount": secret.application.service_account,
                    "application": str(agent.registry.name_of(secret.application, agent.prefix)),
                    "createdAt": _rfc3339(secret.created_at),
                    "notAfter": _rfc3339(secret.not_after),
                }
                for secret in await agent.secrets(caller)
            ]
        }

    @app.post("/v1/seek-blessings")
    async def seek_blessings(body: SeekBlessingsRequest, caller: Authenticated) -> dict[str, Any]:
        started = time.perf_counter()
        issued = await agent.seek_blessings(caller, body.csr, body.token, body.ttl_seconds)
        metrics.issued(time.perf_counter() - started)
        _log.info(
            "blessing issued",
            name=str(issued.name),
            renewal=not caller.holds_bootstrap_credential,
            notAfter=_rfc3339(issued.blessing.not_after),
        )
        return {
            "chain": issued.blessing.to_pem(),
            "roots": agent.room.identity_roots.to_json(),
            "notAfter": _rfc3339(issued.blessing.not_after),
            "renewAt": _rfc3339(issued.renew_at),
        }

    return app


def _credential(issued: IssuedSecret, serving: Serving) -> dict[str, Any]:
    """The document that goes into the Kubernetes Secret under the application's key."""
    return {
        "version": CREDENTIAL_VERSION,
        "id": issued.secret.id,
        "application": str(issued.name),
        "certificateChain": issued.credential.blessing.to_pem(),
        "privateKey": issued.credential.principal.to_pem().decode(),
        "clusterAgentRoots": serving.control_plane_roots.to_pem(),
        "notAfter": _rfc3339(issued.secret.not_after),
    }


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
