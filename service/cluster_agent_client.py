"""A client of the cluster agent that blocks, for programs without an event loop.

with ClusterAgentClient(address, mutual_tls(principal, blessing, roots)) as agent:
    agent.call("GET", "/v1/secrets")

The calls in an event loop are in `service.cluster_agent_calls`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from service import cluster_agent_calls as calls
from service.cluster_agent_calls import ClusterAgentAddress, Head, Question

_TIMEOUT = httpx.Timeout(calls.CALL_SECONDS, connect=calls.CONNECT_SECONDS)
# The handshake was complete on our side, but no answer came.
_ENDED = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, TimeoutError)


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
        question = Question(self._address, method, path, body)
        ends_at = time.monotonic() + calls.CALL_SECONDS
        content = bytearray()
        try:
            with self._client.stream(
                method,
                question.url,
                content=question.content or None,
                headers=question.headers,
                extensions={"sni_hostname": self._address.server_name},
            ) as response:
                for part in response.iter_bytes():
                    question.add(part, content, calls.LONGEST_ANSWER_BYTES)
                    if time.monotonic() > ends_at:
                        raise TimeoutError(f"not answered in {calls.CALL_SECONDS:g} s")
        except _FAILURES as error:
            question.fail("ConnectionEnded" if isinstance(error, _ENDED) else "Unreachable", error)
        head = Head(response.status_code, response.headers.get("retry-after", ""))
        return question.answer(head, content)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
