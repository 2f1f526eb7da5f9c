"""The routes of federated bundles: administrators add and remove them, and every client may read them."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Response
from pydantic import Field

from cluster_agent.api.contract import MEDIA_TYPE, Answer, Body, refuses
from cluster_agent.api.jwt import ETAG, IfNoneMatch
from cluster_agent.api.request_callers import Authenticated, CallerFirst, anybody
from cluster_agent.api.shared_answer import SharedAnswer
from cluster_agent.federation.bundles import MOST_BUNDLE_BYTES
from cluster_agent.federation.federation import Federation
from service.shared_answers import Readers

_log = structlog.get_logger(__name__)
TrustDomain = Annotated[str, Field(min_length=1, max_length=255, description="partner, or spiffe://partner")]


class Bundle(Answer):
    """A trust domain's keys, in SPIFFE's bundle format: a JWK Set."""

    keys: list[dict[str, Any]] = Field(description="for the uses x509-svid and jwt-svid")


class FederateRequest(Body):
    trust_domain: TrustDomain
    bundle: dict[str, Any] = Field(
        description=f"a SPIFFE bundle of at most {MOST_BUNDLE_BYTES} bytes; keys for other uses are left out"
    )


class UnfederateRequest(Body):
    trust_domain: TrustDomain


class FederationAnswer(Answer):
    version: int
    bundles: dict[str, Bundle] = Field(description="trust domain → its bundle")


def federation_routes(federation: Federation, readers: Readers) -> APIRouter:
    """`GET /v1/federated-bundles`, `POST /v1/federate-bundle` and `/v1/unfederate-bundle`."""
    router = APIRouter(route_class=CallerFirst)

    def described() -> dict[str, Any]:
        return {"version": federation.state.version, "bundles": federation.state.by_domain}

    @router.get(
        "/v1/federated-bundles",
        summary="The bundles of other trust domains",
        response_model=FederationAnswer,
        responses={200: ETAG, 304: {"description": "The caller has them."}, **refuses()},
        dependencies=[Depends(anybody)],
    )
    async def federated_bundles(if_none_match: IfNoneMatch = None) -> Response:
        """What pod agents hand out for verifying replicas of other trust domains. They prove names of their
        own trust domain only, and nothing to this cluster agent."""
        tag = {"ETag": f'"{federation.state.version}"'}
        if if_none_match == tag["ETag"]:
            return Response(status_code=304, headers=tag)
        return SharedAnswer(federation.state.answer, readers, media_type=MEDIA_TYPE, headers=tag)

    @router.post(
        "/v1/federate-bundle",
        summary="Add or replace the bundle of another trust domain",
        responses=refuses(400, 401, 403, 415, 503),
    )
    async def federate_bundle(body: FederateRequest, caller: Authenticated) -> FederationAnswer:
        """For administrators. The bundle itself does not state its trust domain."""
        await federation.put(caller, body.trust_domain, body.bundle)
        _log.info("bundle federated", caller=str(caller.name), trustDomain=body.trust_domain)
        return FederationAnswer.model_validate(described())

    @router.post(
        "/v1/unfederate-bundle",
        summary="Remove the bundle of another trust domain",
        responses=refuses(400, 401, 403, 404, 415, 503),
    )
    async def unfederate_bundle(body: UnfederateRequest, caller: Authenticated) -> FederationAnswer:
        """For administrators."""
        await federation.remove(caller, body.trust_domain)
        _log.info("bundle removed", caller=str(caller.name), trustDomain=body.trust_domain)
        return FederationAnswer.model_validate(described())

    return router
