"""A small client of the API server: creates, reads, replaces and deletes objects, lists and watches them.

A full Kubernetes client would cost 30 MiB of memory for these few calls.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from cluster_agent.kubernetes.proxies import proxy_for

# For connecting, and between two parts of an answer.
_TIMEOUT_SECONDS = 5
# For a whole answer, which a server could otherwise send byte by byte.
_ANSWER_SECONDS = 30
# Lines of up to twice this size are read. A line is an object, and etcd stores at most 1.5 MiB for one; in
# JSON some characters take six times as much.
_BUFFER_BYTES = 5 * 1024 * 1024


class ApiCallError(Exception):
    """A call got no answer, an answer that is no success (then `status` is its HTTP status), or a malformed
    one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class AnswerTooLong(ApiCallError):
    """An answer has more bytes than its caller reads."""


class KubernetesApi:
    """An API server, and the token to call it with. The token file is read at each call, because it is
    rotated.

    Every call raises ApiCallError. Its message contains the path and the kind of error, but nothing of
    aiohttp's message, which may contain the token or the password of a proxy.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, token_file: Path) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._token_file = token_file

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POSTs `body`, and returns the created object."""
        async with self._call("POST", path, json=body) as response:
            return await _object_of(response)

    async def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUTs `body`, and returns the object as it is now."""
        async with self._call("PUT", path, json=body) as response:
            return await _object_of(response)

    async def delete(self, path: str) -> None:
        """DELETEs an object."""
        async with self._call("DELETE", path):
            pass

    async def read(
        self, path: str, parameters: Mapping[str, str], accept: str, *, most_bytes: int | None = None
    ) -> dict[str, Any]:
        """GETs JSON with the Accept header `accept`. Also raises AnswerTooLong."""
        async with self._call("GET", path, accept, params=parameters) as response:
            return await _object_of(response, most_bytes)

    async def lines(
        self,
        path: str,
        parameters: Mapping[str, str],
        accept: str,
        *,
        silent_seconds: float,
        longest_seconds: float,
    ) -> AsyncIterator[bytes]:
        """The lines of a GET whose answer takes long. Also raises ApiCallError after `silent_seconds` without
        a byte, and after `longest_seconds` in all."""
        timeout = aiohttp.ClientTimeout(
            total=longest_seconds, connect=_TIMEOUT_SECONDS, sock_read=silent_seconds
        )
        async with self._call(
            "GET", path, accept, params=parameters, timeout=timeout, read_bufsize=_BUFFER_BYTES
        ) as response:
            async for line in response.content:
                yield line

    @asynccontextmanager
    async def _call(
        self, method: str, path: str, accept: str = "application/json", **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            token = self._token_file.read_text().strip()
            headers = {"Authorization": f"Bearer {token}", "Accept": accept}
            async with await self._answer(method, self._url + path, headers=headers, **options) as response:
                if response.status >= 300:
                    raise ApiCallError(f"{method} {path}: HTTP {response.status}", response.status)
                yield response
        # RuntimeError: JSON that is too deep, or the session was closed because the program stops.
        except (aiohttp.ClientError, OSError, ValueError, LookupError, RuntimeError) as error:
            reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
            raise ApiCallError(f"{method} {path}: {type(error).__name__}{reason}") from None

    async def _answer(self, method: str, url: str, **options: Any) -> aiohttp.ClientResponse:
        """Sends the request a second time when a kept connection turns out to be closed.

        The server then did nothing the first time, or something that is harmless twice.
        """
        try:
            return await self._session.request(method, url, allow_redirects=False, **options)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._session.request(method, url, allow_redirects=False, **options)


@asynccontextmanager
async def kubernetes_api(url: str, trust: ssl.SSLContext, token_file: Path) -> AsyncIterator[KubernetesApi]:
    """The API server at `url`, called through the proxy that the environment names for it."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(
            total=_ANSWER_SECONDS, connect=_TIMEOUT_SECONDS, sock_read=_TIMEOUT_SECONDS
        ),
        proxy=proxy_for(url),
    ) as session:
        yield KubernetesApi(session, url, token_file)


async def _object_of(response: aiohttp.ClientResponse, most_bytes: int | None = None) -> dict[str, Any]:
    if most_bytes is None:
        answer = await response.json(content_type=None)
    else:
        answer = json.loads(await _content(response, most_bytes))
    if not isinstance(answer, dict):
        raise ApiCallError(f"{response.method} {response.url.path}: the answer is not a JSON object")
    return answer


async def _content(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    content = bytearray()
    async for part in response.content.iter_any():
        content += part
        if len(content) > most_bytes:
            raise AnswerTooLong(f"{response.method} {response.url.path}: more than {most_bytes} bytes")
    return bytes(content)
