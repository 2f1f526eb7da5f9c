"""Calls of the cluster agent in an event loop, over TLS that verifies its certificate, with a client
certificate or without.

address = ClusterAgentAddress("https://cluster-agent.vanadium-system.svc:8193", SERVER_NAME)
await call(address, mutual_tls(principal, blessing, roots), "POST", "/v1/watch", {})
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import h11

from blessings import Blessing, Principal, Roots
from blessings.tls import client_context, trust
from service.addresses import https_address
from service.errors import CallRefused, CallUnanswered, UnusableAnswer
from service.supervisor import described

SERVER_NAME = "cluster-agent.vanadium-system.svc"
LONGEST_ANSWER_BYTES = 64 << 20
CALL_SECONDS = 10.0
CONNECT_SECONDS = 5.0
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_DEFAULT_PORT = 443
_TOO_MANY_REQUESTS = 429
_MOST_HEADER_BYTES = 16 * 1024
_PART_BYTES = 64 * 1024
_OTHER_ADDRESS_SECONDS = 0.25  # RFC 8305: until the other family of addresses is tried too
# When a connection ends, the other side has so long for its part.
_END_SECONDS = 1.0


@dataclass(frozen=True)
class ClusterAgentAddress:
    """An https:// URL, and the DNS name that the certificate must have, whatever host the URL names."""

    url: str
    server_name: str = SERVER_NAME

    def __post_init__(self) -> None:
        """Raises ValueError for another kind of URL."""
        object.__setattr__(self, "url", https_address(self.url))


def mutual_tls(principal: Principal, blessing: Blessing, roots: Roots) -> ssl.SSLContext:
    """Presents `blessing`, and demands a server certificate under `roots`, for the server's DNS name."""
    context = client_context(principal, blessing, roots)
    context.check_hostname = True
    return context


def server_only_tls(roots: Roots) -> ssl.SSLContext:
    """Presents nothing, and demands a server certificate under `roots`, for the server's DNS name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    trust(context, roots)
    return context


async def call(
    address: ClusterAgentAddress,
    context: ssl.SSLContext,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] = NO_HEADERS,
    longest_bytes: int = LONGEST_ANSWER_BYTES,
    connected: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The answer to one call over a separate connection, because each may present another certificate.

    `connected` is called once the TLS connection stands. Raises CallRefused, CallUnanswered, UnusableAnswer.
    """
    question = Question(address, method, path, body, headers)
    return question.answer(*await _exchange(question, context, longest_bytes, CALL_SECONDS, connected))


async def fetch(
    address: ClusterAgentAddress, context: ssl.SSLContext, path: str, *, longest_bytes: int, seconds: float
) -> bytes:
    """The content at `path`, which is no JSON, over a separate connection. Raises as `call`."""
    question = Question(address, "GET", path, None)
    head, content = await _exchange(question, context, longest_bytes, seconds)
    if not head.is_success:
        question.refuse(head, content)
    return bytes(content)


async def reach(address: ClusterAgentAddress) -> None:
    """Connects and sends nothing. Raises CallUnanswered when nobody takes connections there."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(*_host_and_port(address))
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    except OSError as error:  # TimeoutError is one
        raise CallUnanswered("Unreachable", f"{address.url}: {described(error)}") from error


@dataclass(frozen=True)
class Head:
    """The beginning of an answer."""

    status: int
    retry_after: str

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class Question:
    """One call: its request, and the meaning of its answer."""

    def __init__(
        self,
        address: ClusterAgentAddress,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        # We record no spans (00), but this identifier connects a log line here with the cluster agent's.
        trace = secrets.token_hex(16)
        self.address = address
        self.method = method
        self.path = path
        self.url = f"{address.url}{path}"
        self.content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        self.headers = {**headers, "traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"}
        if body is not None:
            self.headers["content-type"] = "application/json"
        self._name = f"{method} {self.url} (trace {trace})"

    def add(self, part: bytes, content: bytearray, longest: int) -> None:
        if len(content) + len(part) > longest:
            raise UnusableAnswer("AnswerTooLong", f"{self._name}: the answer has more than {longest} bytes")
        content += part

    def fail(self, reason: str, error: Exception) -> NoReturn:
        """`reason` is Unreachable, or ConnectionEnded when the TLS handshake was complete on our side."""
        raise CallUnanswered(reason, f"{self._name}: {described(error)}") from error

    def answer(self, head: Head, content: bytearray) -> dict[str, Any]:
        if not head.is_success:
            self.refuse(head, content)
        document = _document(content)
        if not isinstance(document, dict):
            raise UnusableAnswer(
                "AnswerMalformed", f"{self._name}: the answer is no object; is this a cluster agent?"
            )
        return document

    def refuse(self, head: Head, content: bytearray) -> NoReturn:
        document = _document(content)
        refusal = document.get("error") if isinstance(document, dict) else None
        refusal = refusal if isinstance(refusal, dict) else {}
        reason = str(refusal.get("reason", f"Http{head.status}"))
        said = str(refusal.get("message", ""))
        message = f"{self._name}: {head.status} {reason}: {said}"
        after = head.retry_after
        wait = float(after) if after.isdecimal() and len(after) < 10 else None
        if head.status == _TOO_MANY_REQUESTS or head.status >= 500:
            raise CallUnanswered(reason, message, wait, said)
        raise CallRefused(reason, message, wait, said)


async def _exchange(
    question: Question,
    context: ssl.SSLContext,
    longest_bytes: int,
    seconds: float,
    connected: Callable[[], None] = lambda: None,
) -> tuple[Head, bytearray]:
    reason, content, head = "Unreachable", bytearray(), None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await _connected(question.address, context)
            reason = "ConnectionEnded"
            connected()
            try:
                async for event in _events(question, reader, writer):
                    if isinstance(event, h11.Response):
                        found = dict(event.headers)
                        head = Head(event.status_code, found.get(b"retry-after", b"").decode("latin-1"))
                    elif isinstance(event, h11.Data):
                        question.add(event.data, content, longest_bytes)
            finally:
                writer.close()
                with suppress(OSError, ssl.SSLError):  # TimeoutError is an OSError
                    async with asyncio.timeout(_END_SECONDS):
                        await writer.wait_closed()
    except TimeoutError as error:
        question.fail("Unreachable", error)
    except (OSError, ssl.SSLError, h11.ProtocolError) as error:
        question.fail(reason, error)
    assert head is not None  # noqa: S101 - h11 gives no end before a beginning
    return head, content


async def _connected(
    address: ClusterAgentAddress, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # No proxy from the environment: the requests contain credentials.
    async with asyncio.timeout(CONNECT_SECONDS):
        return await asyncio.open_connection(
            *_host_and_port(address),
            ssl=context,
            server_hostname=address.server_name,
            ssl_shutdown_timeout=_END_SECONDS,
            happy_eyeballs_delay=_OTHER_ADDRESS_SECONDS,
        )


def _host_and_port(address: ClusterAgentAddress) -> tuple[str | None, int]:
    parts = urlsplit(address.url)
    return parts.hostname, parts.port or _DEFAULT_PORT


async def _events(
    question: Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[h11.Event]:
    """What the answer consists of, up to its end. Raises OSError or h11.ProtocolError."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEADER_BYTES)
    url = urlsplit(question.url)
    headers = {
        "host": url.netloc,
        "accept": "application/json, */*",
        "connection": "close",
        "content-length": str(len(question.content)),
        **question.headers,
    }
    request = h11.Request(
        method=question.method,
        target=f"{url.path}?{url.query}" if url.query else url.path,
        headers=[*headers.items()],
    )
    for sent in (request, h11.Data(data=question.content), h11.EndOfMessage()):
        writer.write(http.send(sent) or b"")
    await writer.drain()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_PART_BYTES))
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("the connection ended without an answer")
        elif isinstance(event, h11.EndOfMessage):
            return
        elif isinstance(event, h11.Event):
            yield event


def _document(content: bytearray) -> object:
    try:
        document: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document
