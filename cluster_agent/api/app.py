"""The HTTP application of the cluster agent: JSON over TLS, whose client certificate identifies the
caller."""

from __future__ import annotations

import time

import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.telemetry import TelemetryConfig
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.types import ASGIApp, Scope

from blessings.encoding.times import rfc3339
from cluster_agent.api.body_limit import BodyLimit
from cluster_agent.api.contract import (
    MEDIA_TYPE,
    Answer,
    Rfc3339,
    RootAnswer,
    described,
    operation_id,
    refuses,
)
from cluster_agent.api.direct_calls import DirectCalls
from cluster_agent.api.error_answers import answer_errors
from cluster_agent.api.request_callers import Authenticated, CallerFirst, address_of, anybody
from cluster_agent.audit.refusals import Refusals
from cluster_agent.callers import Caller, KnownCallers
from cluster_agent.errors import BadRequest, NotAuthenticated
from cluster_agent.issuing.cluster_agent import ClusterAgent, IssuedSecret
from cluster_agent.model import Application
from cluster_agent.monitoring.metrics import SEEK_BLESSINGS, Metrics
from cluster_agent.rate_limits import RateLimits
from cluster_agent.server.certificate import Serving
from cluster_agent.server.connections import client_blessing

OPENAPI = "/openapi.json"
MAX_BODY_BYTES = 64 * 1024
CREDENTIAL_VERSION = 1
# FastAPI's own telemetry would record clients' input, such as paths and queries; ours is in tracing.py.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
# Characters that the database accepts in a text and a person can read in a log.
PRINTABLE = r"^[!-~]+$"
_DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

_log = structlog.get_logger(__name__)


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Health(Answer):
    status: str = Field(description="ok")
    attestor: str = Field(description="the attestor of tokens: token-review, jwks")
    root: str = Field(description="where the root comes from: self-made, mounted, claimed, unclaimed")


class RootsAnswer(Answer):
    roots: list[RootAnswer]


class NewSecretRequest(_Body):
    namespace: str = Field(max_length=63, pattern=_DNS_NAME)
    service_account: str = Field(max_length=253, pattern=_DNS_NAME)


class Credential(Answer):
    """A bootstrap credential, in the form of the Kubernetes Secret's entry for the application."""

    version: int = Field(description="of this format")
    id: str = Field(description="of the secret")
    application: str = Field(description="its name")
    certificate_chain: str = Field(description="PEM, the client certificate first")
    private_key: str = Field(description="PEM, PKCS #8; only this answer contains it")
    cluster_agent_roots: str = Field(description="PEM, to verify the cluster agent's certificate")
    not_after: Rfc3339


class NewSecretAnswer(Answer):
    id: str = Field(description="to forget the secret by")
    application: str = Field(description="the application's name")
    not_after: Rfc3339 = Field(description="when the credential ends")
    credential: Credential


class SecretAnswer(Answer):
    id: str
    namespace: str
    service_account: str
    application: str = Field(description="its current name")
    created_at: Rfc3339
    not_after: Rfc3339


class SecretsAnswer(Answer):
    secrets: list[SecretAnswer]


class ForgetSecretRequest(_Body):
    id: str = Field(min_length=1, max_length=64, pattern=PRINTABLE)
    revoke: bool = Field(
        default=False, description="also what was issued under it; false for a secret that has a successor"
    )


class SeekBlessingsRequest(_Body):
    csr: str = Field(max_length=8192, description="PKCS #10 in PEM; only its key is used")
    token: str = Field(default="", max_length=32768, description="service-account token bound to the pod")
    ttl_seconds: int | None = Field(default=None, ge=1, le=2**31, description="asks for a shorter life")


class BlessingAnswer(Answer):
    chain: str = Field(description="PEM, the replica's certificate first, without the root")
    roots: list[RootAnswer] = Field(description="to verify peers")
    not_after: Rfc3339
    renew_at: Rfc3339 = Field(description="half of its life; add a random time of your own")


def create_app(
    agent: ClusterAgent, serving: Serving, metrics: Metrics, limits: RateLimits, refusals: Refusals
) -> FastAPI:
    """The application. It answers a refusal with `{"error": {"reason", "message"}}`."""
    app = FastAPI(
        title="Vanadium cluster agent",
        description="Names replicas, and revokes their names. JSON over TLS 1.3; the client certificate of "
        "the connection identifies the caller.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=_NO_TELEMETRY,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    app.router.route_class = CallerFirst
    note = answer_errors(app, metrics, limits, refusals)

    known = KnownCallers()

    def caller_of(request: Request) -> Caller:
        roots = (serving.control_plane_roots, agent.room.bootstrap_roots, agent.room.identity_roots)
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
    app.state.note = note

    @app.get(
        "/healthz",
        summary="Whether the program answers",
        responses=refuses(),
        dependencies=[Depends(anybody)],
    )
    async def healthz() -> Health:
        """Also states the program's configuration. Readiness is on the health port."""
        return Health(status="ok", attestor=agent.attestor.kind, root=agent.room.kind)

    @app.get(OPENAPI, include_in_schema=False, dependencies=[Depends(anybody)])
    async def openapi() -> Response:
        return Response(described(app), media_type=MEDIA_TYPE)

    @app.get(
        "/v1/roots",
        summary="The identity roots",
        responses=refuses(),
        dependencies=[Depends(anybody)],
    )
    async def roots() -> RootsAnswer:
        """The roots for verifying replicas; none while no administrator has claimed the agent."""
        return RootsAnswer(roots=roots_of(agent))

    @app.post(
        "/v1/new-secret",
        summary="Make a bootstrap credential for an application",
        responses=refuses(400, 401, 403, 415, 503),
    )
    async def new_secret(body: NewSecretRequest, caller: Authenticated) -> NewSecretAnswer:
        """For administrators and secret keepers. The agent keeps the credential's fingerprint only."""
        issued = await agent.new_secret(caller, Application(body.namespace, body.service_account))
        _log.info("secret made", id=issued.secret.id, application=str(issued.name), caller=str(caller.name))
        return NewSecretAnswer(
            id=issued.secret.id,
            application=str(issued.name),
            not_after=rfc3339(issued.secret.not_after),
            credential=_credential(issued, serving),
        )

    @app.get(
        "/v1/secrets",
        summary="The secrets that are neither forgotten nor expired",
        responses=refuses(401, 403, 503),
    )
    async def secrets(caller: Authenticated) -> SecretsAnswer:
        """For administrators and secret keepers. Each entry names the secret's application, and never
        contains the credential."""
        return SecretsAnswer(
            secrets=[
                SecretAnswer(
                    id=secret.id,
                    namespace=secret.application.namespace,
                    service_account=secret.application.service_account,
                    application=str(agent.registry.name_of(secret.application, agent.prefix)),
                    created_at=rfc3339(secret.created_at),
                    not_after=rfc3339(secret.not_after),
                )
                for secret in await agent.secrets(caller)
            ]
        )

    @app.post(
        SEEK_BLESSINGS,
        summary="Have a key blessed with the caller's pod name",
        responses=refuses(400, 401, 403, 415, 503),
    )
    async def seek_blessings(body: SeekBlessingsRequest, caller: Authenticated) -> BlessingAnswer:
        """For pods. The first call presents the bootstrap credential of their application as client
        certificate, later calls present the current replica certificate; each call has a new key and a token
        of the pod."""
        started = time.perf_counter()
        issued = await agent.seek_blessings(caller, body.csr, body.token, body.ttl_seconds)
        metrics.issued(time.perf_counter() - started)
        not_after = rfc3339(issued.blessing.not_after)
        _log.info(
            "blessing issued",
            name=str(issued.name),
            renewal=not caller.holds_bootstrap_credential,
            notAfter=not_after,
        )
        return BlessingAnswer(
            chain=issued.blessing.to_pem(),
            roots=roots_of(agent),
            not_after=not_after,
            renew_at=rfc3339(issued.renew_at),
        )

    return app


def served(app: FastAPI) -> ASGIApp:
    """The application of `create_app` with its limit: a body has at most MAX_BODY_BYTES."""

    def too_large(scope: Scope) -> None:
        app.state.note(Request(scope), BadRequest("BodyTooLarge", f"more than {MAX_BODY_BYTES} bytes"))

    direct = DirectCalls(app, SEEK_BLESSINGS, SeekBlessingsRequest)
    return BodyLimit(direct, max_bytes=MAX_BODY_BYTES, refused=too_large)


def roots_of(agent: ClusterAgent) -> list[RootAnswer]:
    """The identity roots, in the form of answers."""
    return [RootAnswer.model_validate(root) for root in agent.room.identity_roots.to_json()]


def _credential(issued: IssuedSecret, serving: Serving) -> Credential:
    return Credential(
        version=CREDENTIAL_VERSION,
        id=issued.secret.id,
        application=str(issued.name),
        certificate_chain=issued.credential.blessing.to_pem(),
        private_key=issued.credential.principal.to_pem().decode(),
        cluster_agent_roots=serving.control_plane_roots.to_pem(),
        not_after=rfc3339(issued.secret.not_after),
    )
