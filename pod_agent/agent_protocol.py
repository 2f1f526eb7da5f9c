"""The agent protocol on agent.sock: JSON over HTTP/1.1 on a Unix socket. The key never leaves.

    GET  /v1/names    {"version", "names"}
    GET  /v1/chain    {"version", "chain", "notAfter", "renewAt", "publicKey"}
    GET  /v1/roots    {"roots": [{"certificate", "pattern"}]}
    GET  /v1/crl      {"lists": [<base64 of a revocation list in DER>]}
    POST /v1/sign     {"message": <base64>} → {"signature": <base64>, "algorithm", "publicKey"}
    POST /v1/bless    {"publicKey": <PEM>, "extension", "lifetimeSeconds", "caveats"} → {"chain"}
    GET  /v1/watch    a line in /v1/chain's format for each rotation; `?after=<version>` skips known ones,
                      `?heartbeat=true` sends an empty line every 10 s, so that the client knows a dead stream

Versions start again from 1 when the pod agent restarts: when a watch ends, watch again without `after`.
Before the first blessing, and after the last one has expired: 503 NotYetBlessed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from blessings import BlessingsError, CannotBless, delegate, fingerprint
from blessings.caveats import kinds
from blessings.encoding.canonical import parse_any
from blessings.encoding.fields import Fields
from blessings.encoding.times import rfc3339
from blessings.keys import parse_public_key
from pod_agent.identity import CurrentIdentity, Identity

MAX_BODY_BYTES = 64 * 1024
MOST_BODY_SECONDS = 10
HEARTBEAT_SECONDS = 10.0
# Python refuses to convert thousands of them.
_MOST_DIGITS = 18


class AgentProtocol:
    """The routes, which serve the current identity."""

    def __init__(self, current: CurrentIdentity) -> None:
        self._current = current

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/names", self.names),
                Route("/v1/chain", self.chain),
                Route("/v1/roots", self.roots),
                Route("/v1/crl", self.crl),
                Route("/v1/sign", self.sign, methods=["POST"]),
                Route("/v1/bless", self.bless, methods=["POST"]),
                Route("/v1/watch", self.watch),
            ],
            exception_handlers={_ProtocolError: _answer},
        )

    async def names(self, _request: Request) -> Response:
        identity = self._identity()
        return JSONResponse({"version": identity.version, "names": [str(identity.name)]})

    async def chain(self, _request: Request) -> Response:
        return JSONResponse(describe(self._identity()))

    async def roots(self, _request: Request) -> Response:
        return JSONResponse({"roots": self._identity().roots.to_json()})

    async def crl(self, _request: Request) -> Response:
        lists = self._current.lists.entries
        return JSONResponse({"lists": [base64.b64encode(one.to_der()).decode() for one in lists]})

    async def sign(self, request: Request) -> Response:
        principal = self._identity().principal
        try:
            message = base64.b64decode(json.loads(await _body(request))["message"], validate=True)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _ProtocolError(400, "MalformedRequest", 'expected {"message": "<base64>"}') from error
        return JSONResponse(
            {
                "signature": base64.b64encode(principal.sign(message)).decode(),
                "algorithm": principal.signature_algorithm,
                "publicKey": fingerprint(principal.public_key),
            }
        )

    async def bless(self, request: Request) -> Response:
        """Blesses another key with the replica's blessing, by the agent's clock, and never beyond its
        expiry."""
        identity = self._identity()
        body = await _body(request)
        try:
            fields = Fields(
                parse_any(body), "the body", ("publicKey", "extension", "lifetimeSeconds", "caveats")
            )
            key = parse_public_key(fields.text("publicKey"))
            restrictions = kinds.parse_all(fields.list("caveats"), "caveats")
            lifetime = timedelta(seconds=fields.whole_number("lifetimeSeconds", 10**9))
            blessing = delegate(
                identity.principal,
                identity.blessing,
                key,
                fields.text("extension"),
                now=self._current.now(),
                lifetime=lifetime,
                caveats=restrictions,
            )
        except CannotBless as error:
            raise _ProtocolError(400, "CannotBless", str(error)) from error
        except BlessingsError as error:
            raise _ProtocolError(400, "MalformedRequest", str(error)) from error
        return JSONResponse({"chain": blessing.to_pem()})

    async def watch(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > _MOST_DIGITS:
            raise _ProtocolError(400, "MalformedRequest", "after must be a version, a whole number")
        pause = HEARTBEAT_SECONDS if request.query_params.get("heartbeat") == "true" else None
        return StreamingResponse(self._lines(int(after), pause), media_type="application/x-ndjson")

    async def _lines(self, after: int, pause: float | None) -> AsyncIterator[str]:
        changes = self._current.changes(after)
        following = asyncio.ensure_future(anext(changes, None))
        try:
            while True:
                done, _ = await asyncio.wait([following], timeout=pause)
                if not done:
                    yield "\n"
                    continue
                if (identity := following.result()) is None:
                    return
                yield json.dumps(describe(identity)) + "\n"
                following = asyncio.ensure_future(anext(changes, None))
        finally:
            following.cancel()

    def _identity(self) -> Identity:
        identity = self._current.value
        if identity is None:
            raise _ProtocolError(503, "NotYetBlessed", "there is no valid blessing now; try again")
        return identity


def describe(identity: Identity) -> dict[str, Any]:
    """The answer of /v1/chain."""
    return {
        "version": identity.version,
        "chain": identity.blessing.to_pem(),
        "notAfter": rfc3339(identity.not_after),
        "renewAt": rfc3339(identity.renew_at),
        "publicKey": fingerprint(identity.principal.public_key),
    }


class _ProtocolError(Exception):
    """An error answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


async def _answer(_request: Request, error: Exception) -> Response:
    if not isinstance(error, _ProtocolError):
        raise error
    headers = {"Retry-After": "1"} if error.status == 503 else None
    content = {"error": {"reason": error.reason, "message": str(error)}}
    return JSONResponse(content, error.status, headers)


async def _body(request: Request) -> bytes:
    content = bytearray()
    try:
        async with asyncio.timeout(MOST_BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > MAX_BODY_BYTES:
                    message = f"a request may have at most {MAX_BODY_BYTES} bytes"
                    raise _ProtocolError(413, "BodyTooLarge", message)
    except TimeoutError as error:
        message = f"the body did not arrive within {MOST_BODY_SECONDS} s"
        raise _ProtocolError(408, "BodyTooSlow", message) from error
    return bytes(content)
