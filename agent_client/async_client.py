"""The client of the agent protocol for programs on asyncio: the calls of `AgentClient`, awaited.

async with AsyncAgentClient() as agent:
    await agent.names()               # [Name('acme:prod:shop:web:web-1')]
    async for served in agent.watch():
        ...
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import httpx

from agent_client import messages
from agent_client.messages import Presentation, ServedBlessing, Signature
from blessings import (
    Blessing,
    BlessingStore,
    Caveat,
    Discharges,
    Name,
    Pattern,
    PublicKey,
    RevocationLists,
    Roots,
)


class AsyncAgentClient:
    """Calls the pod agent. Every call means and raises what that of `AgentClient` does."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        timeout_seconds: float = messages.TIMEOUT_SECONDS,
    ) -> None:
        """Raises AgentError when there is neither `path` nor V23_AGENT_PATH."""
        transport = httpx.AsyncHTTPTransport(uds=messages.socket_path(path))
        self._client = httpx.AsyncClient(
            transport=transport, base_url=messages.BASE_URL, timeout=timeout_seconds
        )

    async def names(self) -> list[Name]:
        return messages.names(await self._call("GET", "/v1/names"))

    async def chain(self) -> ServedBlessing:
        return ServedBlessing.parse(await self._call("GET", "/v1/chain"))

    async def roots(self) -> Roots:
        return Roots.from_json((await self._call("GET", "/v1/roots"))["roots"])

    async def revocation_lists(self, application: Name) -> RevocationLists:
        answer = messages.lists(await self._request("GET", f"/v1/crl/{application}"))
        return RevocationLists() if answer is None else answer[1]

    async def sign(self, message: bytes) -> Signature:
        return Signature.parse(await self._call("POST", "/v1/sign", messages.sign_request(message)))

    async def bless(
        self, public_key: PublicKey, extension: str, *, lifetime: timedelta, caveats: Sequence[Caveat] = ()
    ) -> Blessing:
        body = messages.bless_request(public_key, extension, lifetime, caveats)
        return Blessing.from_pem((await self._call("POST", "/v1/bless", body))["chain"])

    async def blessings(self) -> BlessingStore:
        return messages.store(await self._call("GET", "/v1/blessings"))

    async def presentation(self, peer: Name) -> Presentation:
        return Presentation.parse(await self._call("GET", messages.peer_path(peer)))

    async def keep_for_peers(
        self, pattern: Pattern, blessing: Blessing, discharges: Discharges = messages.NO_DISCHARGES
    ) -> Presentation:
        body = messages.peer_request(blessing, discharges)
        return Presentation.parse(await self._call("PUT", messages.peer_path(pattern), body))

    async def forget_for_peers(self, pattern: Pattern) -> None:
        await self._call("DELETE", messages.peer_path(pattern))

    async def watch(self, after: int = 0) -> AsyncGenerator[ServedBlessing, None]:
        try:
            async with self._client.stream("GET", "/v1/watch", **messages.watch_options(after)) as response:
                async for line in response.aiter_lines():
                    if (served := messages.watched(line)) is not None:
                        yield served
        except httpx.HTTPError as error:
            raise messages.unreachable(error, "the pod agent's stream ended") from error

    async def close(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        return messages.document(await self._request(method, path, json=body))

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise messages.unreachable(error) from error
