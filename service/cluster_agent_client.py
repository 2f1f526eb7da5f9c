"""A client of the cluster agent, over TLS that verifies the agent's certificate, with a client certificate or
without.

address = ClusterAgentAddress("https://cluster-agent.vanadium-system.svc:8193", SERVER_NAME)
with ClusterAgentClient(address, mutual_tls(principal, blessing, roots)) as agent:
    agent.call("GET", "/v1/secrets")

await call(address, mutual_tls(principal, blessing, roots), "POST", "/v1/watch", {})   # in an event loop
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx

from blessings import Blessing, Principal, Roots
from blessings.tls import client_context, trust
from service.addresses import https_address
from service.errors import CallRefused, CallUnanswered, UnusableAnswer
from service.supervisor import described

SERVER_NAME = "cluster-agent.vanadium-system.svc"
LONGEST_ANSWER_BYTES = 64 << 20
CALL_SECONDS = 10.0
_TIMEOUT = httpx.Timeout(CALL_SECONDS, connect=5.0)
# The handshake was complete on our side, but no answer came.
_ENDED = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, TimeoutError)


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


class ClusterAgentClient:
    """Calls one cluster agent over persistent connections. Not for use by several threads at once."""

    def __init__(
        self, address: ClusterAgentAddress, context: ssl.SSLContext, *, unix_socket: Path | None = None
    ) -> None:
        """`unix_socket` leads to the cluster agent, instead of the host and port of the address."""
        self._address = address
        # Without a proxy from the environment: the requests contain an administrator's credentials.
        way = None
        if unix_socket is not None:
            way = httpx.HTTPTransport(verify=context, uds=str(unix_socket), trust_env=False)
        self._client = httpx.Client(verify=context, timeout=_TIMEOUT, trust_env=False, transport=way)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer, a JSON object. Raises CallRefused, CallUnanswered, UnusableAnswer."""
        question = _Question(self._address, method, path, body)
        ends_at = time.monotonic() + CALL_SECONDS
        content = bytearray()
        try:
            with self._client.stream(**question.arguments) as response:
                for part in response.iter_bytes():
                    question.add(part, content, LONGEST_ANSWER_BYTES)
                    if time.monotonic() > ends_at:
                        raise TimeoutError(f"not answered in {CALL_SECONDS:g} s")
        except _FAILURES as error:
            question.fail(error)
        return question.answer(response, content)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def call(
    address: ClusterAgentAddress,
    context: ssl.SSLContext,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    longest_bytes: int = LONGEST_ANSWER_BYTES,
) -> dict[str, Any]:
    """The answer to one call over a separate connection, because each may present another certificate.

    Raises CallRefused, CallUnanswered, UnusableAnswer.
    """
    question = _Question(address, method, path, body)
    return question.answer(*await _exchange(question, context, longest_bytes, CALL_SECONDS))


async def fetch(
    address: ClusterAgentAddress, context: ssl.SSLContext, path: str, *, longest_bytes: int, seconds: float
) -> bytes:
    """The content at `path`, which is no JSON, over a separate connection. Raises as `call`."""
    question = _Question(address, "GET", path, None)
    response, content = await _exchange(question, context, longest_bytes, seconds)
    if not response.is_success:
        question.refuse(response, content)
    return bytes(content)


async def _exchange(
    question: _Question, context: ssl.SSLContext, longest_bytes: int, seconds: float
) -> tuple[httpx.Response, bytearray]:
    content = bytearray()
    try:
        async with (
            httpx.AsyncClient(verify=context, timeout=_TIMEOUT, trust_env=False) as client,
            asyncio.timeout(seconds),
            client.stream(**question.arguments) as response,
        ):
            async for part in response.aiter_bytes():
                question.add(part, content, longest_bytes)
    except _FAILURES as error:
        question.fail(error)
    return response, content


class _Question:
    """One call: its request, and the meaning of its answer."""

    def __init__(
        self, address: ClusterAgentAddress, method: str, path: str, body: Mapping[str, Any] | None
    ) -> None:
        # We record no spans (00), but this identifier connects a log line here with the cluster agent's.
        trace = secrets.token_hex(16)
        self._name = f"{method} {address.url}{path} (trace {trace})"
        self.arguments: dict[str, Any] = {
            "method": method,
            "url": f"{address.url}{path}",
            "json": body,
            "headers": {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"},
            "extensions": {"sni_hostname": address.server_name},
        }

    def add(self, part: bytes, content: bytearray, longest: int) -> None:
        if len(content) + len(part) > longest:
            raise UnusableAnswer("AnswerTooLong", f"{self._name}: the answer has more than {longest} bytes")
        content += part

    def fail(self, error: Exception) -> NoReturn:
        reason = "ConnectionEnded" if isinstance(error, _ENDED) else "Unreachable"
        raise CallUnanswered(reason, f"{self._name}: {described(error)}") from error

    def answer(self, response: httpx.Response, content: bytearray) -> dict[str, Any]:
        if not response.is_success:
            self.refuse(response, content)
        document = _document(content)
        if not isinstance(document, dict):
            raise UnusableAnswer(
                "AnswerMalformed", f"{self._name}: the answer is no object; is this a cluster agent?"
            )
        return document

    def refuse(self, response: httpx.Response, content: bytearray) -> NoReturn:
        document = _document(content)
        refusal = document.get("error") if isinstance(document, dict) else None
        refusal = refusal if isinstance(refusal, dict) else {}
        reason = str(refusal.get("reason", f"Http{response.status_code}"))
        said = str(refusal.get("message", ""))
        message = f"{self._name}: {response.status_code} {reason}: {said}"
        after = response.headers.get("retry-after", "")
        wait = float(after) if after.isdecimal() and len(after) < 10 else None
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise CallUnanswered(reason, message, wait, said)
        raise CallRefused(reason, message, wait, said)


def _document(content: bytearray) -> object:
    try:
        document: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document
