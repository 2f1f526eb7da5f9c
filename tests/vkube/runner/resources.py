"""What Pods need from a cluster, in memory: a double for the runner's own tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

Data = dict[tuple[str, str], dict[str, bytes]]


@dataclass
class MemoryResources:
    secrets: Data = field(default_factory=dict)
    config_maps: Data = field(default_factory=dict)
    claims: dict[tuple[str, str], Path] = field(default_factory=dict)
    token_life: timedelta = timedelta(hours=1)
    tokens_issued: int = 0

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        return self.secrets.get((namespace, name))

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes] | None:
        return self.config_maps.get((namespace, name))

    async def claim(self, namespace: str, name: str) -> Path | None:
        return self.claims.get((namespace, name))

    async def token(
        self,
        namespace: str,
        service_account: str,
        audience: str,
        expiration_seconds: int,
        pod_name: str,
        pod_uid: str,
    ) -> tuple[str, datetime]:
        self.tokens_issued += 1
        parts = (namespace, service_account, audience, pod_name, pod_uid, str(self.tokens_issued))
        return "/".join(parts), datetime.now(UTC) + self.token_life
