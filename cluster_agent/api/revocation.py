"""The routes of revocation: administrators revoke, and every client may read the lists."""

from __future__ import annotations

from typing import Annotated, Any, Self

import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import ConfigDict, Field, model_validator

from blessings import InvalidName, Name
from cluster_agent.api.contract import MEDIA_TYPE, PRINTABLE, Answer, Body, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst, anybody
from cluster_agent.api.secrets import NewSecretRequest
from cluster_agent.api.shared_answer import SharedAnswer
from cluster_agent.callers import Caller
from cluster_agent.errors import BadRequest, NotFound
from cluster_agent.model import Application
from cluster_agent.revocation.revoker import Revoker
from cluster_agent.store.revocations import Revoked
from service.shared_answers import Readers

MOST_ISSUERS = 64
_ISSUER = "blessing name of the application"
IssuerName = Annotated[str, Field(max_length=2048, description=_ISSUER)]
Issuer = Annotated[str, Path(max_length=2048, description=_ISSUER)]
Issuers = Annotated[
    list[IssuerName] | None, Query(max_length=MOST_ISSUERS, description="whose lists; without it, all")
]
Key = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){31}$",
        description="fingerprint of the key that signed it, if several keys signed under this name",
    ),
]
IfNoneMatch = Annotated[str | None, Header(description="the ETag of the list that the caller has")]
_PKIX_CRL = "application/pkix-crl"  # RFC 2585, section 4.2
_BINARY = {"type": "string", "format": "binary"}
_log = structlog.get_logger(__name__)


def _not_null(schema: dict[str, Any]) -> None:
    """Marks a field that may be missing but not null: the document states it, and `_one` checks it."""
    schema.pop("default")
    schema |= schema.pop("anyOf")[0]


class RevokeRequest(Body):
    """Exactly one of serial, name, podUid, secret, application; with `ahead` only podUid or application."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 2})

    serial: str | None = Field(
        default=None,
        max_length=64,
        pattern=r"^[0-9A-Fa-f]+(:[0-9A-Fa-f]+)*$",
        description="of a certificate of the replica, in hex",
        json_schema_extra=_not_null,
    )
    name: str | None = Field(
        default=None, max_length=2048, description="of a replica", json_schema_extra=_not_null
    )
    pod_uid: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        pattern=PRINTABLE,
        description="of a replica",
        json_schema_extra=_not_null,
    )
    secret: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        pattern=PRINTABLE,
        description="its id",
        json_schema_extra=_not_null,
    )
    application: NewSecretRequest | None = Field(
        default=None, description="all pods of a service account", json_schema_extra=_not_null
    )
    ahead: bool = Field(
        default=False, description="revoke it although it is not known here: it will get nothing"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        named = self.model_fields_set - {"ahead"}
        if len(named) != 1 or None in (getattr(self, one) for one in named):
            raise ValueError("expected exactly one of serial, name, podUid, secret, application")
        if self.ahead and not named <= {"pod_uid", "application"}:
            raise ValueError("only a podUid or an application can be revoked ahead")
        return self


class RevokedAnswer(Answer):
    certificates: int = Field(description="how many valid certificates it revokes")
    crl_version: int = Field(description="of the lists that contain them")


class ReinstatedAnswer(Answer):
    was_revoked: bool


class ListAnswer(Answer):
    issuer: str = Field(description=_ISSUER)
    key: str = Field(description="fingerprint of the key that signed it")
    number: int = Field(description="of the list; another list has a higher one")
    size: int = Field(alias="bytes", description="of the list in DER")


class ListsAnswer(Answer):
    version: int
    lists: list[ListAnswer]


def revocation_routes(revoker: Revoker, readers: Readers) -> APIRouter:
    """`POST /v1/revoke`, `/v1/reinstate`; `GET /v1/crl` and `/v1/crl/{issuer}`."""
    router = APIRouter(route_class=CallerFirst)
    lists = revoker.lists

    @router.post(
        "/v1/revoke",
        summary="Revoke a replica, a secret or an application",
        responses=refuses(400, 401, 403, 404, 415, 503),
    )
    async def revoke(body: RevokeRequest, caller: Authenticated) -> RevokedAnswer:
        """For administrators. When the answer arrives, the revocation is durable, and on the lists of the
        agent that answered. What is not known here is 404, and nothing is revoked."""
        done = await _revoke(revoker, caller, body)
        _log.info("revoked", caller=str(caller.name), certificates=done.certificates, **_what(body))
        return RevokedAnswer(certificates=done.certificates, crl_version=lists.version)

    @router.post(
        "/v1/reinstate",
        summary="Let a revoked application have secrets again",
        responses=refuses(400, 401, 403, 404, 415, 503),
    )
    async def reinstate(body: NewSecretRequest, caller: Authenticated) -> ReinstatedAnswer:
        """For administrators. Certificates that were revoked stay revoked. An unknown application is 404."""
        application = Application(body.namespace, body.service_account)
        was = await revoker.reinstate_application(caller, application)
        _log.info("reinstated", caller=str(caller.name), wasRevoked=was, **body.model_dump())
        return ReinstatedAnswer(was_revoked=was)

    @router.get(
        "/v1/crl",
        summary="Which revocation lists there are",
        response_model=ListsAnswer,
        responses=refuses(400),
        dependencies=[Depends(anybody)],
    )
    async def revocation_lists(issuer: Issuers = None) -> Response:
        """Each list is fetched from `/v1/crl/{issuer}`, when its number is higher than the one at hand."""
        index = lists.whole_index() if issuer is None else lists.index_document(issuer)
        return SharedAnswer(index, readers, media_type=MEDIA_TYPE)

    @router.get(
        "/v1/crl/{issuer}",
        summary="One application's revocation list",
        response_class=Response,
        responses={
            200: {
                "description": "DER, RFC 5280",
                "content": {_PKIX_CRL: {"schema": _BINARY}},
                "headers": {"ETag": {"description": "The list's number.", "schema": {"type": "string"}}},
            },
            304: {"description": "The caller has this list."},
            **refuses(400, 404),
        },
        dependencies=[Depends(anybody)],
    )
    async def revocation_list(issuer: Issuer, key: Key = None, if_none_match: IfNoneMatch = None) -> Response:
        """The list, as a certificate's distribution point would serve it. It is signed, so a client need not
        trust the server that it gets it from."""
        found = lists.by_key(issuer)
        one = next(iter(found.values()), None) if key is None else found.get(key)
        if one is None:
            raise NotFound("UnknownIssuer", f"there is no such revocation list of {issuer[:300]!r}")
        # Weak: each replica of the agent signs the same list, with signatures that differ.
        tag = {"ETag": f'W/"{one.number}"'}
        if if_none_match == tag["ETag"]:
            return Response(status_code=304, headers=tag)
        return SharedAnswer(one.to_der(), readers, media_type=_PKIX_CRL, headers=tag)

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
        return await revoker.revoke_pod(caller, body.pod_uid, ahead=body.ahead)
    if body.secret is not None:
        return await revoker.revoke_secret(caller, body.secret)
    assert body.application is not None  # noqa: S101 - for mypy; exactly one is there
    application = Application(body.application.namespace, body.application.service_account)
    return await revoker.revoke_application(caller, application, ahead=body.ahead)


def _what(body: RevokeRequest) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True)
