"""The few calls that the cluster agent makes to the API server: TokenReview, Event, and Pods listed and
watched. A full Kubernetes client would cost 30 MiB of memory for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass
class KubernetesApi:
    """An API server and the token to call it with. The token file is read at each call: it is rotated."""

    client: httpx.AsyncClient
    token_file: Path

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POSTs `body`. Raises httpx.HTTPError when there is no answer or it is no success."""
        response = await self.client.post(path, json=body, headers=self._headers())
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    async def read(self, path: str, parameters: Mapping[str, str], accept: str) -> dict[str, Any]:
        """GETs JSON in the form `accept`. Raises httpx.HTTPError as `create` does, ValueError for no JSON."""
        response = await self.client.get(path, params=parameters, headers=self._headers(accept))
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    async def lines(
        self, path: str, parameters: Mapping[str, str], accept: str, silent_seconds: float
    ) -> AsyncIterator[str]:
        """The lines of a GET that the server keeps answering. Raises httpx.HTTPError as `create` does, and
        after `silent_seconds` without a byte."""
        timeout = httpx.Timeout(self.client.timeout.connect, read=silent_seconds)
        async with self.client.stream(
            "GET", path, params=parameters, headers=self._headers(accept), timeout=timeout
        ) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                yield line

    def _headers(self, accept: str = "application/json") -> dict[str, str]:
        token = self.token_file.read_text().strip()
        return {"Authorization": f"Bearer {token}", "Accept": accept}
