"""The routes of revocation: administrators revoke, and everybody may read the lists."""

from __future__ import annotations

from typing import Any, Self

import structlog
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from blessings import InvalidName, Name
from cluster_agent.api import ForgetSecretRequest, NewSecretRequest
from cluster_agent.applications import Application
from cluster_agent.callers import Caller
from cluster_agent.errors import BadRequest
from cluster_agent.request_callers import Authenticated, anybody
from cluster_agent.revocation_lists import CurrentLists
from cluster_agent.revoking import Revoker
from cluster_agent.store.revocations import Revoked

_log = structlog.get_logger(__name__)


class RevokeRequest(BaseModel):
    """Exactly one of them."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    serial: str | None = Field(default=None, max_length=64, pattern=r"^[0-9A-Fa-f]+(:[0-9A-Fa-f]+)*$")
    name: str | None = Field(default=None, max_length=2048)
    pod_uid: str | None = Field(default=None, min_length=1, max_length=128)
    secret: str | None = Field(default=None, min_length=1, max_length=64)
    application: NewSecretRequest | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("expected exactly one of serial, name, podUid, secret, application")
        return self


def revocation_routes(revoker: Revoker, lists: CurrentLists) -> APIRouter:
    """`POST /v1/revoke`, `/v1/reinstate`, `/v1/forget-secret`; `GET /v1/crl` and `/v1/crl/{issuer}`."""
    router = APIRouter()

    @router.post("/v1/revoke")
    async def revoke(body: RevokeRequest, caller: Authenticated) -> dict[str, Any]:
        done = await _revoke(revoker, caller, body)
        _log.info("revoked", caller=str(caller.name), certificates=done.certificates, **_what(body))
        return {"certificates": done.certificates, "crlVersion": lists.version}

    @router.post("/v1/reinstate")
    async def reinstate(body: NewSecretRequest, caller: Authenticated) -> dict[str, Any]:
        application = Application(body.namespace, body.service_account)
        was = await revoker.reinstate_application(caller, application)
        _log.info("reinstated", caller=str(caller.name), wasRevoked=was, **body.model_dump())
        return {"wasRevoked": was}

    @router.post("/v1/forget-secret")
    async def forget_secret(body: ForgetSecretRequest, caller: Authenticated) -> dict[str, Any]:
        if body.revoke:
            done = await revoker.forget_secret(caller, body.id)
            known, revoked = done.known, done.certificates
        else:
            known, revoked = await revoker.agent.forget_secret(caller, body.id), 0
        _log.info("secret forgotten", id=body.id, known=known, certificates=revoked, caller=str(caller.name))
        return {}

    @router.get("/v1/crl", dependencies=[Depends(anybody)])
    async def every_list() -> dict[str, Any]:
        return {"version": lists.version, "lists": lists.after(0)}

    @router.get("/v1/crl/{issuer}", dependencies=[Depends(anybody)])
    async def one_list(issuer: str, key: int = 0) -> Response:
        found = lists.of(issuer)
        if not 0 <= key < len(found):
            raise BadRequest("UnknownIssuer", f"there is no revocation list {key} of {issuer[:300]!r}")
        # RFC 2585, section 4.2.
        return Response(found[key].to_der(), media_type="application/pkix-crl")

    return router


async def _revoke(revoker: Revoker, caller: Caller, body: RevokeRequest) -> Revoked:
    if body.serial is not None:
        return await revoker.revoke_serial(caller, body.serial)
    if body.name is not None:
        try:
            name = Name.parse(body.name)
        except InvalidName as error:
            raise BadRequest("MalformedRequest", f"name: {error}") from error
        return await revoker.revoke_name(caller, name)
    if body.pod_uid is not None:
        return await revoker.revoke_pod(caller, body.pod_uid)
    if body.secret is not None:
        return await revoker.revoke_secret(caller, body.secret)
    assert body.application is not None  # noqa: S101 - for mypy; exactly one is there
    application = Application(body.application.namespace, body.application.service_account)
    return await revoker.revoke_application(caller, application)


def _what(body: RevokeRequest) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True)
