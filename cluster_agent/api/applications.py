"""The registry's routes, for administrators; one of them also for secret keepers."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Query
from pydantic import Field

from cluster_agent.api.contract import DNS_NAME, Answer, Body, Rfc3339, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst
from cluster_agent.model import Application
from cluster_agent.pod_requests.checks import SHORTEST_TTL
from cluster_agent.registry.dns_names import LONGEST_DNS_NAME, MOST_DNS_NAMES
from cluster_agent.registry.registrar import Registrar
from cluster_agent.registry.registry import Registration

# namespace/service account: the last of the page before.
_AFTER = r"^[a-z0-9][-a-z0-9.]*/[a-z0-9][-a-z0-9.]*$"
_MOST_TTLS = 1000
After = Annotated[
    str | None, Query(max_length=317, pattern=_AFTER, description="`following` of the page before")
]
Limit = Annotated[int, Query(ge=1, le=_MOST_TTLS, description="at most so many")]
_log = structlog.get_logger(__name__)


class UnregisterRequest(Body):
    namespace: str = Field(max_length=63, pattern=DNS_NAME)
    service_account: str = Field(max_length=253, pattern=DNS_NAME)


class RegisterRequest(UnregisterRequest):
    name: str = Field(max_length=2048, description="the application's, acme:fortuned")
    ttl_seconds: int | None = Field(
        default=None, ge=1, le=2**31, description="life of its replicas' certificates"
    )
    chain: str | None = Field(
        default=None,
        max_length=32768,
        description="PEM, of the agent's key, for a name that it was not granted",
    )
    dns_names: list[Annotated[str, Field(max_length=LONGEST_DNS_NAME)]] | None = Field(
        default=None,
        max_length=MOST_DNS_NAMES,
        description="DNS names in its replicas' certificates, in lower case, no wildcards; null: as before",
    )
    share_dns_names: bool = Field(
        default=False, description="whether new DNS names may be another application's, too"
    )


class RegisteredAnswer(Answer):
    namespace: str
    service_account: str
    name: str = Field(description="the application's, acme:fortuned")
    ttl_seconds: int | None = Field(description="life of its replicas' certificates; null: the agent's")
    dns_names: list[str] = Field(description="DNS names in its replicas' certificates")
    granted_until: Rfc3339 | None = Field(description="end of an administrator's blessing; null: none needed")


class ListedAnswer(RegisteredAnswer):
    objection: str | None = Field(description="why the name would be refused now; null: it would not")


class ApplicationsAnswer(Answer):
    applications: list[ListedAnswer]
    following: str | None = Field(description="`after` of the next page; null: this is the last")


class TtlAnswer(Answer):
    namespace: str
    service_account: str
    ttl_seconds: int = Field(description="life of its replicas' certificates")


class VolumeTtlsAnswer(Answer):
    default_ttl_seconds: int = Field(description="of an application without a TTL of its own")
    shortest_ttl_seconds: int = Field(description="of an application whose certificates kubelets can have")
    registered: list[TtlAnswer] = Field(
        description="the applications with a TTL of their own that is below `shortestTtlSeconds`; all that "
        "have one where the default is below it"
    )
    following: str | None = Field(description="`after` of the next page; null: this is the last")


class UnregisteredAnswer(Answer):
    known: bool = Field(description="whether it was registered")


def registry_routes(registrar: Registrar) -> APIRouter:
    """POST /v1/register-application and /v1/unregister-application, GET /v1/applications and
    /v1/volume-ttls."""
    router = APIRouter(route_class=CallerFirst)

    @router.post(
        "/v1/register-application",
        summary="Choose an application's name",
        responses=refuses(400, 401, 403, 409, 415, 503),
    )
    async def register_application(body: RegisterRequest, caller: Authenticated) -> RegisteredAnswer:
        """For administrators. If its name changes, forgets the credentials for the previous one, and revokes
        the certificates issued under them. DNS names are in certificates from their next renewal; those that
        are left out stay in certificates until these end. When no answer arrives, a part may have been done:
        repeat the call."""
        application = Application(body.namespace, body.service_account)
        registered = await registrar.register(
            caller,
            application,
            body.name,
            body.ttl_seconds,
            body.chain,
            body.dns_names,
            share_dns_names=body.share_dns_names,
        )
        described = _described(registered)
        _log.info("application registered", caller=str(caller.name), **described.model_dump(by_alias=True))
        return described

    @router.post(
        "/v1/unregister-application",
        summary="Let an application's name follow from its namespace again",
        responses=refuses(400, 401, 403, 404, 415, 503),
    )
    async def unregister_application(body: UnregisterRequest, caller: Authenticated) -> UnregisteredAnswer:
        """For administrators. Revokes the application's certificates, as a registration does. An unknown
        application is 404."""
        application = Application(body.namespace, body.service_account)
        known = await registrar.unregister(caller, application)
        _log.info(
            "application unregistered",
            caller=str(caller.name),
            namespace=body.namespace,
            serviceAccount=body.service_account,
            known=known,
        )
        return UnregisteredAnswer(known=known)

    @router.get(
        "/v1/applications", summary="The registered applications", responses=refuses(400, 401, 403, 503)
    )
    async def applications(caller: Authenticated, after: After = None) -> ApplicationsAnswer:
        """For administrators, in pages. Without the applications whose names follow from namespace and
        service account."""
        page = await registrar.registered(caller, _place(after))
        return ApplicationsAnswer(
            applications=[
                ListedAnswer(**_described(one.registration).model_dump(), objection=one.objection)
                for one in page.listed
            ],
            following=None if page.following is None else str(page.following),
        )

    @router.get(
        "/v1/volume-ttls",
        summary="Which applications' certificates live too short for a kubelet",
        responses=refuses(400, 401, 403, 503),
    )
    async def volume_ttls(
        caller: Authenticated, limit: Limit = _MOST_TTLS, after: After = None
    ) -> VolumeTtlsAnswer:
        """For administrators and secret keepers, in pages: the webhook gives a Pod no volume for which its
        kubelet would get no certificate."""
        shortest = int(SHORTEST_TTL.total_seconds())
        page = await registrar.ttls(caller, shortest, limit, _place(after))
        return VolumeTtlsAnswer(
            default_ttl_seconds=page.default,
            shortest_ttl_seconds=shortest,
            registered=[
                TtlAnswer(namespace=one.namespace, service_account=one.service_account, ttl_seconds=ttl)
                for one, ttl in page.registered
            ],
            following=None if page.following is None else str(page.following),
        )

    return router


def _place(after: str | None) -> Application | None:
    return None if after is None else Application(*after.split("/"))


def _described(one: Registration) -> RegisteredAnswer:
    return RegisteredAnswer(
        namespace=one.application.namespace,
        service_account=one.application.service_account,
        name=str(one.name),
        ttl_seconds=one.ttl_seconds,
        dns_names=list(one.dns_names),
        granted_until=None if one.chain is None else one.chain.not_after.isoformat(),
    )
