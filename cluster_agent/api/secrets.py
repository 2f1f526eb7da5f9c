"""The routes of secrets, for administrators and secret keepers."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Query
from pydantic import Field

from blessings.encoding.times import rfc3339
from cluster_agent.api.contract import DNS_NAME, PRINTABLE, Answer, Body, Rfc3339, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst
from cluster_agent.model import Application
from cluster_agent.registry.registry import Registry
from cluster_agent.revocation.revoker import Revoker
from cluster_agent.secrets.bootstrap_secrets import BootstrapSecrets, IssuedSecret, Page
from cluster_agent.server.certificate import Serving
from cluster_agent.store.secrets import Place

CREDENTIAL_VERSION = 1
_PAGE = 1000
_log = structlog.get_logger(__name__)


OfNamespace = Annotated[
    str | None, Query(max_length=63, pattern=DNS_NAME, description="of this namespace only")
]
Limit = Annotated[int | None, Query(ge=1, le=_PAGE, description="at most so many")]
After = Annotated[
    str | None,
    Query(
        max_length=128,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[!-~]{1,64})?$",
        description="`following` of the page before, or a namespace, for what follows all of its secrets",
    ),
]


class NewSecretRequest(Body):
    namespace: str = Field(max_length=63, pattern=DNS_NAME)
    service_account: str = Field(max_length=253, pattern=DNS_NAME)


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
    application: str | None = Field(
        description="its current name; null: this cluster agent did not make its registration"
    )
    created_at: Rfc3339
    not_after: Rfc3339


class SecretsAnswer(Answer):
    secrets: list[SecretAnswer]
    following: str | None = Field(description="`after` of the next page; null: this is the last")


class ForgetSecretRequest(Body):
    id: str = Field(min_length=1, max_length=64, pattern=PRINTABLE)
    revoke: bool = Field(
        default=False, description="also what was issued under it; false for a secret that has a successor"
    )


class ForgottenAnswer(Answer):
    """Nothing more: the status states it."""


def secret_routes(
    kept: BootstrapSecrets, revoker: Revoker, registry: Registry, serving: Serving
) -> APIRouter:
    """`POST /v1/new-secret`, `GET /v1/secrets`, `POST /v1/forget-secret`."""
    router = APIRouter(route_class=CallerFirst)

    @router.post(
        "/v1/new-secret",
        summary="Make a bootstrap credential for an application",
        responses=refuses(400, 401, 403, 415, 503),
    )
    async def new_secret(body: NewSecretRequest, caller: Authenticated) -> NewSecretAnswer:
        """For administrators and secret keepers. The agent keeps the credential's fingerprint only."""
        issued = await kept.make(caller, Application(body.namespace, body.service_account))
        _log.info("secret made", id=issued.secret.id, application=str(issued.name), caller=str(caller.name))
        return NewSecretAnswer(
            id=issued.secret.id,
            application=str(issued.name),
            not_after=rfc3339(issued.secret.not_after),
            credential=_credential(issued, serving),
        )

    @router.get(
        "/v1/secrets",
        summary="The secrets that are neither forgotten nor expired",
        responses=refuses(400, 401, 403, 503),
    )
    async def secrets(
        caller: Authenticated, namespace: OfNamespace = None, limit: Limit = None, after: After = None
    ) -> SecretsAnswer:
        """For administrators and secret keepers. Each entry names the secret's application, and never
        contains the credential. With `limit` or `after` they come in pages, ordered by namespace and
        identifier. Without them the answer has all, and more than 10 000 are refused (TooManySecrets)."""
        if limit is None and after is None:
            page = Page(await kept.live(caller, namespace), None)
        else:
            page = await kept.page(caller, limit or _PAGE, namespace=namespace, after=_place(after))
        names = await registry.names_of(secret.application for secret in page.secrets)
        return SecretsAnswer(
            secrets=[
                SecretAnswer(
                    id=secret.id,
                    namespace=secret.application.namespace,
                    service_account=secret.application.service_account,
                    application=str(names[secret.application]) if secret.application in names else None,
                    created_at=rfc3339(secret.created_at),
                    not_after=rfc3339(secret.not_after),
                )
                for secret in page.secrets
            ],
            following=None if page.following is None else f"{page.following.namespace}/{page.following.id}",
        )

    @router.post(
        "/v1/forget-secret",
        summary="Stop issuing and renewing under a secret",
        responses=refuses(400, 401, 403, 404, 415, 503),
    )
    async def forget_secret(body: ForgetSecretRequest, caller: Authenticated) -> ForgottenAnswer:
        """For administrators and secret keepers. A secret that was forgotten before is no error; one that
        never was is 404."""
        if body.revoke:
            revoked = (await revoker.forget_secret(caller, body.id)).certificates
        else:
            await kept.forget(caller, body.id)
            revoked = 0
        _log.info("secret forgotten", id=body.id, certificates=revoked, caller=str(caller.name))
        return ForgottenAnswer()

    return router


def _place(after: str | None) -> Place | None:
    if after is None:
        return None
    namespace, _, identifier = after.partition("/")
    return Place(namespace, identifier or None)


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
