"""The routes of JWT-SVIDs: replicas get them, every client reads the keys, administrators rotate these."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Response
from pydantic import Field

from blessings.encoding.times import rfc3339
from blessings.jwt.svid import MOST_AUDIENCE_CHARACTERS, MOST_AUDIENCES
from cluster_agent.api.contract import MEDIA_TYPE, PRINTABLE, Answer, Body, Rfc3339, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst, anybody
from cluster_agent.callers import Administrators, require_administrator
from cluster_agent.jwt.svid_issuer import JwtSvidIssuer
from cluster_agent.monitoring.jwt_metrics import JwtMetrics
from cluster_agent.roots.rotation import Phase

_Audience = Annotated[str, Field(min_length=1, max_length=MOST_AUDIENCE_CHARACTERS, pattern=PRINTABLE)]
ETAG: dict[str, Any] = {"headers": {"ETag": {"description": "Its version.", "schema": {"type": "string"}}}}
IfNoneMatch = Annotated[str | None, Header(description="the ETag of the answer that the caller has")]
_log = structlog.get_logger(__name__)


class JwtSvidRequest(Body):
    audiences: list[_Audience] = Field(
        min_length=1,
        max_length=MOST_AUDIENCES,
        description="who is to accept it; 4096 characters in all",
        json_schema_extra={"uniqueItems": True},
    )
    token: str = Field(default="", max_length=32768, description="service-account token bound to the pod")


class JwtSvidAnswer(Answer):
    svid: str = Field(description="JWT in compact form")
    not_after: Rfc3339


class JwtKeyPhase(Answer):
    """A key that signs JWT-SVIDs, and when its phase ends."""

    key: str = Field(description="its kid")
    phase: Phase
    since: Rfc3339
    active_at: Rfc3339 | None = Field(default=None, description="of one that is prepared")
    gone_at: Rfc3339 | None = Field(default=None, description="of one that retires")


class JwtKeysAnswer(Answer):
    version: int
    keys: list[JwtKeyPhase]


class RotateJwtKeysRequest(Body):
    at_once: bool = Field(
        default=False,
        description="leave nothing but a new key, for keys that have leaked: valid JWT-SVIDs are refused, "
        "and new ones by verifiers that have not read the keys again",
    )


class KeySetAnswer(Answer):
    keys: list[dict[str, str]] = Field(description="JWKs (RFC 7517) for the use jwt-svid")


def jwt_routes(issuer: JwtSvidIssuer, administrators: Administrators, metrics: JwtMetrics) -> APIRouter:
    """`POST /v1/jwt-svid`; `GET /v1/jwks`; `GET /v1/jwt-keys`, and `POST /v1/rotate-jwt-keys`."""
    router = APIRouter(route_class=CallerFirst)

    @router.post(
        "/v1/jwt-svid",
        summary="A JWT-SVID of the caller",
        responses=refuses(400, 401, 403, 415, 503),
    )
    async def jwt_svid(body: JwtSvidRequest, caller: Authenticated) -> JwtSvidAnswer:
        """For replicas, with their certificate and a token of their pod. It states the caller's own SPIFFE
        ID, also when another client presents it: it is a bearer token."""
        started = time.perf_counter()
        issued = await issuer.issue(caller, body.audiences, body.token)
        metrics.issued(time.perf_counter() - started)
        not_after = rfc3339(issued.not_after)
        _log.info("JWT-SVID issued", name=str(issued.name), audiences=len(body.audiences), notAfter=not_after)
        return JwtSvidAnswer(svid=issued.token, not_after=not_after)

    @router.get(
        "/v1/jwks",
        summary="The keys of JWT-SVIDs",
        response_model=KeySetAnswer,
        responses={
            200: ETAG,
            304: {"description": "The caller has this key set."},
            **refuses(503),
        },
        dependencies=[Depends(anybody)],
    )
    async def jwks(if_none_match: IfNoneMatch = None) -> Response:
        """For verifiers of this trust domain: those that sign, those that will, and those that did."""
        state = issuer.keys.state
        tag = {"ETag": f'"{state.version}"'}
        if if_none_match == tag["ETag"]:
            return Response(status_code=304, headers=tag)
        return Response(json.dumps({"keys": state.jwks()}), media_type=MEDIA_TYPE, headers=tag)

    @router.get(
        "/v1/jwt-keys",
        summary="The keys of JWT-SVIDs and their phases",
        responses=refuses(401, 403, 503),
        response_model_exclude_none=True,
    )
    async def jwt_keys(caller: Authenticated) -> JwtKeysAnswer:
        """For administrators."""
        require_administrator(caller, administrators)
        return JwtKeysAnswer.model_validate(await issuer.keys.describe())

    @router.post(
        "/v1/rotate-jwt-keys",
        summary="Prepare the next key of JWT-SVIDs",
        responses=refuses(400, 401, 403, 409, 415, 503),
        response_model_exclude_none=True,
    )
    async def rotate_jwt_keys(body: RotateJwtKeysRequest, caller: Authenticated) -> JwtKeysAnswer:
        """For administrators. It is published before it signs, and the previous one after."""
        require_administrator(caller, administrators)
        await issuer.keys.rotate(at_once=body.at_once, by=caller.name)
        _log.info("JWT keys rotated by hand", caller=str(caller.name), atOnce=body.at_once)
        return JwtKeysAnswer.model_validate(await issuer.keys.describe())

    return router
