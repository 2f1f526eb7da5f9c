"""The few calls that the cluster agent makes to the API server: TokenReview, Event, and Pods listed and
watched. A full Kubernetes client would cost 30 MiB of memory for them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from cluster_agent.kubernetes.proxies import proxy_for

# To connect, and between two parts of an answer.
_TIMEOUT_SECONDS = 5
# Lines of up to twice these are read. A line is an object, of which etcd keeps 1.5 MiB at most; in JSON some
# characters are six times as long.
_BUFFER_BYTES = 5 * 1024 * 1024


class ApiCallError(Exception):
    """A call had no answer, or one that is no success, or not what was asked for."""


class KubernetesApi:
    """An API server and the token to call it with. The token file is read at each call: it is rotated.

    Every call raises ApiCallError. It says the path and the kind of error, and nothing of what aiohttp's
    errors say: they may hold the token, or the password of a proxy.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, token_file: Path) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._token_file = token_file

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POSTs `body`, and gives what was made of it."""
        async with self._call("POST", path, json=body) as response:
            return await _object_of(response)

    async def read(self, path: str, parameters: Mapping[str, str], accept: str) -> dict[str, Any]:
        """GETs JSON in the form `accept`."""
        async with self._call("GET", path, accept, params=parameters) as response:
            return await _object_of(response)

    async def lines(
        self, path: str, parameters: Mapping[str, str], accept: str, silent_seconds: float
    ) -> AsyncIterator[bytes]:
        """The lines of a GET that the server keeps answering. Also raises ApiCallError after `silent_seconds`
        without a byte."""
        timeout = aiohttp.ClientTimeout(connect=_TIMEOUT_SECONDS, sock_read=silent_seconds)
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
                    raise ApiCallError(f"{method} {path}: HTTP {response.status}")
                yield response
        except (aiohttp.ClientError, OSError, ValueError, LookupError, RecursionError) as error:
            reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
            raise ApiCallError(f"{method} {path}: {type(error).__name__}{reason}") from None

    async def _answer(self, method: str, url: str, **options: Any) -> aiohttp.ClientResponse:
        """Asks once more where a connection that was kept turns out to be closed: the server did nothing, or
        what does no harm twice."""
        try:
            return await self._session.request(method, url, allow_redirects=False, **options)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._session.request(method, url, allow_redirects=False, **options)


@asynccontextmanager
async def kubernetes_api(url: str, trust: ssl.SSLContext, token_file: Path) -> AsyncIterator[KubernetesApi]:
    """The API server at `url`, through the proxy that the environment names for it."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(connect=_TIMEOUT_SECONDS, sock_read=_TIMEOUT_SECONDS),
        proxy=proxy_for(url),
    ) as session:
        yield KubernetesApi(session, url, token_file)


async def _object_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    answer = await response.json(content_type=None)
    if not isinstance(answer, dict):
        raise ApiCallError(f"{response.method} {response.url.path}: the answer is no JSON object")
    return answer
