"""The two calls that the cluster agent makes to the API server: TokenReview and Event. A full Kubernetes
client would cost 30 MiB of memory for them."""

from __future__ import annotations

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
        token = self.token_file.read_text().strip()
        response = await self.client.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer
