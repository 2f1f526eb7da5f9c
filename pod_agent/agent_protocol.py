"""The agent protocol on agent.sock: JSON over HTTP/1.1 on a Unix socket. The key never leaves.

    GET  /v1/names    {"version", "names"}
    GET  /v1/chain    {"version", "chain", "notAfter", "renewAt", "publicKey"}
    GET  /v1/roots    {"roots": [{"certificate", "pattern"}]}
    GET  /v1/crl/<application>   its revocation lists in PEM; ETag and If-None-Match name their version
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
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from blessings import BlessingsError, CannotBless, InvalidName, Name, delegate, fingerprint
from blessings.caveats import kinds
from blessings.encoding.canonical import parse_any
from blessings.encoding.fields import Fields
from blessings.encoding.times import rfc3339
from blessings.keys import parse_public_key
from blessings.revocation import MAX_BYTES
from pod_agent.errors import SeekError
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.revocation_lists import ApplicationLists, HeldLists
from service.shared_answers import ReaderLimits, Readers

MAX_BODY_BYTES = 64 * 1024
MOST_BODY_SECONDS = 10
HEARTBEAT_SECONDS = 10.0
# Of the Pod's own programs. Two lists of the largest kind fit beside each other.
_READERS = ReaderLimits(most=8, most_from_address=8, most_kept_bytes=2 * MAX_BYTES)
_PEM_LINE = 64
_PEM_PART_BYTES = 1024 * _PEM_LINE // 4 * 3
# Python refuses to convert thousands of them.
_MOST_DIGITS = 18


class AgentProtocol:
    """The routes, which serve the current identity."""

    def __init__(self, current: CurrentIdentity, lists: HeldLists) -> None:
        self._current = current
        self._lists = lists
        self._readers = Readers(_READERS, _too_many_readers)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/names", self.names),
                Route("/v1/chain", self.chain),
                Route("/v1/roots", self.roots),
                Route("/v1/crl/{application}", self.crl),
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

    async def crl(self, request: Request) -> Response:
        """The lists that the cluster agent publishes for that application; when it is away, those at hand."""
        identity = self._identity()
        try:
            application = str(Name.parse(request.path_params["application"]))
        except InvalidName as error:
            raise _ProtocolError(400, "MalformedRequest", str(error)) from error
        try:
            version = await self._lists.version_of(identity, application)
            if version is not None and request.headers.get("if-none-match") == f'"{version}"':
                return Response(status_code=304, headers={"ETag": f'"{version}"'})
            lists = await self._lists.of(identity, application)
        except SeekError as error:
            raise _ProtocolError(503, "ListUnavailable", f"{error.reason}: {error}") from error
        if lists is None:
            raise _ProtocolError(404, "NoRevocationList", f"{application} has no revocation list")
        return _PemLists(lists, self._readers)

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


class _PemLists(Response):
    """Lists in PEM (RFC 7468), encoded while they are sent: their bytes in DER are shared by all readers."""

    def __init__(self, lists: ApplicationLists, readers: Readers) -> None:
        super().__init__()
        self._lists = lists
        self._readers = readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ders = self._lists.ders
        headers = {"Content-Type": "application/x-pem-file", "ETag": f'"{self._lists.version}"'}
        await self._readers.send(scope, send, ders, pem_parts(ders), headers)


def pem_parts(ders: Iterable[bytes]) -> Iterator[bytes]:
    """The lists in PEM, some 64 KiB at a time."""
    for der in ders:
        yield b"-----BEGIN X509 CRL-----\n"
        for begin in range(0, len(der), _PEM_PART_BYTES):
            text = base64.b64encode(der[begin : begin + _PEM_PART_BYTES])
            lines = (text[place : place + _PEM_LINE] for place in range(0, len(text), _PEM_LINE))
            yield b"\n".join(lines) + b"\n"
        yield b"-----END X509 CRL-----\n"


def _too_many_readers() -> _ProtocolError:
    return _ProtocolError(503, "TooManyReaders", "too many clients read long lists now; try again")


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
