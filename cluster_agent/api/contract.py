"""The contract of the routes in the OpenAPI document, with the refusals of each.

A route lists its own refusals with `refuses`; `describe` makes the document of all routes of the running
program. https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from cluster_agent.signing.room import SigningRoom

MEDIA_TYPE = "application/json"
# Characters that the database accepts in a text and a person can read in a log.
PRINTABLE = r"^[!-~]+$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_SCHEME = "clientCertificate"
_MEANINGS = {
    400: "The request is malformed, or cannot be done; the message states where and why.",
    401: "No client certificate, or one that proves no name here.",
    403: "The caller is known, and may not do this.",
    404: "What the call names is not known, or there is no such path in an agent with this kind of root.",
    409: "The current state does not allow it; a second try does not help.",
    413: "The body is longer than 64 KiB. The connection ends; after a much longer one, without this answer.",
    415: f"The body is not declared to be {MEDIA_TYPE}.",
    429: "More calls than this client, or all clients together, may make at once.",
    503: "A service that is needed for it does not answer now, or this cluster agent is not claimed yet.",
}
_WAIT = {
    "Retry-After": {
        "description": "Seconds after which a new try makes sense.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
# FastAPI's own format of a refusal, which no route returns.
_NOT_OURS = ("HTTPValidationError", "ValidationError")


class Body(BaseModel):
    """What a route is sent; unknown fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class Answer(BaseModel):
    """The answer of a route."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class RefusalDetail(BaseModel):
    """Why a call was refused."""

    reason: str = Field(description="one word for programs, NotAnAdministrator")
    message: str = Field(description="a sentence for people: what was wrong, where, and what to do")


class RefusalAnswer(BaseModel):
    """The format of every refusal."""

    error: RefusalDetail


Rfc3339 = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time with its offset, RFC 3339."""


class RootAnswer(Answer):
    """A root certificate, and the names that it is trusted for."""

    certificate: str = Field(description="PEM")
    pattern: str = Field(description="pattern of names, acme")


def roots_of(room: SigningRoom) -> list[RootAnswer]:
    """The identity roots, as answers state them."""
    return [RootAnswer.model_validate(root) for root in room.identity_roots.to_json()]


def refuses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route with these refusals, besides those of every route (413, 429)."""
    return {status: _refusal(status) for status in sorted({*statuses, 413, 429})}


def _refusal(status: int) -> dict[str, Any]:
    said: dict[str, Any] = {"model": RefusalAnswer, "description": _MEANINGS[status]}
    if status in (429, 503):
        said["headers"] = _WAIT
    return said


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of `app`."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    for name in _NOT_OURS:
        schemas.pop(name, None)
    refused = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{RefusalAnswer.__name__}"}}}
    document["components"]["securitySchemes"] = {
        _SCHEME: {"type": "mutualTLS", "description": "a blessing that this cluster agent recognises"}
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for status in operation["responses"].keys() - {"200"}:
                # FastAPI already states the media type of a route's good answers.
                operation["responses"][status]["content"] = refused
            # A route that may refuse clients without a certificate requires one.
            operation["security"] = [{_SCHEME: []}] if "401" in operation["responses"] else []
    return document


def described(app: FastAPI) -> bytes:
    """The document in JSON, made once, at the first request, when all routes exist."""
    if not hasattr(app.state, "described"):
        app.state.described = json.dumps(describe(app), separators=(",", ":")).encode()
    document: bytes = app.state.described
    return document


def operation_id(route: APIRoute) -> str:
    """The function's name: unique, and a good one for a client's method."""
    return route.name
