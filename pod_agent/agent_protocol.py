"""The agent protocol on agent.sock: JSON over HTTP/1.1 on a Unix socket. The key never leaves.

docs/agent-openapi.json states each call. Revocation lists and watches are sent in parts.

Versions start again from 1 when the pod agent restarts: when a watch ends, watch again without `after`.
Before the first blessing, and after the last one has expired: 503 NotYetBlessed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from blessings import BlessingsError, CannotBless, InvalidName, Name, delegate, fingerprint
from blessings.caveats import kinds
from blessings.encoding.canonical import parse_any
from blessings.encoding.fields import Fields
from blessings.encoding.times import rfc3339
from blessings.keys import parse_public_key
from blessings.revocation import MAX_BYTES
from pod_agent.errors import HttpError, SeekError
from pod_agent.http.exchange import MOST_BODY_BYTES, Answer, Handler, Request, as_json, routed
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.peer_blessings import PeerBlessings
from pod_agent.peer_verification import Question, verdict
from pod_agent.revocation_lists import HeldLists
from service.shared_answers import ReaderLimits, Readers

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
        self._for_peers = PeerBlessings(self._identity, current.now)

    def handler(self) -> Handler:
        return routed(self.routes())

    def routes(self) -> Mapping[str, Handler]:
        return {
            "GET /v1/names": self.names,
            "GET /v1/chain": self.chain,
            "GET /v1/roots": self.roots,
            "GET /v1/crl/*": self.crl,
            "POST /v1/sign": self.sign,
            "POST /v1/bless": self.bless,
            "POST /v1/verify": self.verify,
            "GET /v1/watch": self.watch,
            **self._for_peers.routes(),
        }

    async def names(self, _request: Request) -> Answer:
        identity = self._identity()
        return as_json({"version": identity.version, "names": [str(identity.name)]})

    async def chain(self, _request: Request) -> Answer:
        return as_json(describe(self._identity()))

    async def roots(self, _request: Request) -> Answer:
        return as_json({"roots": self._identity().roots.to_json()})

    async def crl(self, request: Request) -> Answer:
        """The lists that the cluster agent publishes for that application; when it is away, those at hand."""
        identity = self._identity()
        try:
            application = str(Name.parse(request.rest))
        except InvalidName as error:
            raise HttpError(400, "MalformedRequest", str(error)) from error
        try:
            version = await self._lists.version_of(identity, application)
            if version is not None and request.headers.get("if-none-match") == f'"{version}"':
                return Answer(304, headers={"ETag": f'"{version}"'})
            lists = await self._lists.of(identity, application)
        except SeekError as error:
            raise HttpError(503, "ListUnavailable", f"{error.reason}: {error}") from error
        if lists is None:
            raise HttpError(404, "NoRevocationList", f"{application} has no revocation list")
        return Answer(
            kind="application/x-pem-file",
            headers={"ETag": f'"{lists.version}"'},
            parts=_in_turn(pem_parts(lists.ders)),
            # Their bytes in DER are shared by all readers.
            during=self._readers.reading("", lists.ders, request.end),
        )

    async def sign(self, request: Request) -> Answer:
        principal = self._identity().principal
        try:
            message = base64.b64decode(json.loads(await request.body())["message"], validate=True)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HttpError(400, "MalformedRequest", 'expected {"message": "<base64>"}') from error
        return as_json(
            {
                "signature": base64.b64encode(principal.sign(message)).decode(),
                "algorithm": principal.signature_algorithm,
                "publicKey": fingerprint(principal.public_key),
            }
        )

    async def bless(self, request: Request) -> Answer:
        """Blesses another key with the replica's blessing, by the agent's clock, and never beyond its
        expiry."""
        identity = self._identity()
        body = await request.body()
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
            raise HttpError(400, "CannotBless", str(error)) from error
        except BlessingsError as error:
            raise HttpError(400, "MalformedRequest", str(error)) from error
        return as_json({"chain": blessing.to_pem()})

    async def verify(self, request: Request) -> Answer:
        """Which name a peer's chain proves, by the agent's roots, clock and lists."""
        identity = self._identity()
        try:
            question = Question.parse(parse_any(await request.body(), MOST_BODY_BYTES))
        except BlessingsError as error:
            raise HttpError(400, "MalformedRequest", str(error)) from error
        return as_json(await verdict(question, identity, self._lists, self._current.now()))

    async def watch(self, request: Request) -> Answer:
        after = request.parameters.get("after", "0")
        if not after.isdecimal() or len(after) > _MOST_DIGITS:
            raise HttpError(400, "MalformedRequest", "after must be a version, a whole number")
        pause = HEARTBEAT_SECONDS if request.parameters.get("heartbeat") == "true" else None
        return Answer(kind="application/x-ndjson", parts=self._lines(int(after), pause))

    async def _lines(self, after: int, pause: float | None) -> AsyncGenerator[bytes]:
        changes = self._current.changes(after)
        following = asyncio.ensure_future(anext(changes, None))
        try:
            while True:
                done, _ = await asyncio.wait([following], timeout=pause)
                if not done:
                    yield b"\n"
                    continue
                if (identity := following.result()) is None:
                    return
                yield json.dumps(describe(identity)).encode() + b"\n"
                following = asyncio.ensure_future(anext(changes, None))
        finally:
            following.cancel()

    def _identity(self) -> Identity:
        identity = self._current.value
        if identity is None:
            raise HttpError(503, "NotYetBlessed", "there is no valid blessing now; try again")
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


def pem_parts(ders: Iterable[bytes]) -> Iterator[bytes]:
    """The lists in PEM (RFC 7468), some 64 KiB at a time."""
    for der in ders:
        yield b"-----BEGIN X509 CRL-----\n"
        for begin in range(0, len(der), _PEM_PART_BYTES):
            text = base64.b64encode(der[begin : begin + _PEM_PART_BYTES])
            lines = (text[place : place + _PEM_LINE] for place in range(0, len(text), _PEM_LINE))
            yield b"\n".join(lines) + b"\n"
        yield b"-----END X509 CRL-----\n"


async def _in_turn(parts: Iterable[bytes]) -> AsyncGenerator[bytes]:
    for part in parts:
        yield part


def _too_many_readers() -> HttpError:
    return HttpError(503, "TooManyReaders", "too many clients read long lists now; try again")
