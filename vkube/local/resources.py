"""What local mode's Pods need besides themselves: Secrets and ConfigMaps of the manifests, the bootstrap
Secrets, claims as directories, and tokens."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from vkube.local.manifests import Manifest
from vkube.local.token_issuer import TokenIssuer
from vkube.runner import NotMountable
from webhook.layout import BOOTSTRAP_SECRET
from webhook.reconciler.memory_secrets import MemorySecrets


class LocalResources:
    """The runner's Resources. `data` and `claims` are what the manifests declare.

    Args:
        directory: contains a directory for each claim, for as long as local mode runs.
    """

    def __init__(self, secrets: MemorySecrets, tokens: TokenIssuer, directory: Path) -> None:
        self._secrets = secrets
        self._tokens = tokens
        self._directory = directory
        self.data: dict[tuple[str, str, str], Manifest] = {}
        self.claims: set[tuple[str, str]] = set()

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        if name == BOOTSTRAP_SECRET:
            stored = self._secrets.secrets.get(namespace)
            return None if stored is None else {key: text.encode() for key, text in stored.items()}
        return self._declared("Secret", namespace, name)

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes] | None:
        return self._declared("ConfigMap", namespace, name)

    async def claim(self, namespace: str, name: str) -> Path | None:
        if (namespace, name) not in self.claims:
            return None
        directory = self._directory / namespace / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    async def token(
        self,
        namespace: str,
        service_account: str,
        audience: str,
        expiration_seconds: int,
        pod_name: str,
        pod_uid: str,
    ) -> tuple[str, datetime]:
        return self._tokens.token(
            namespace=namespace,
            service_account=service_account,
            audience=audience,
            pod_name=pod_name,
            pod_uid=pod_uid,
            lifetime=timedelta(seconds=expiration_seconds),
        )

    def _declared(self, kind: str, namespace: str, name: str) -> dict[str, bytes] | None:
        manifest = self.data.get((kind, namespace, name))
        if manifest is None:
            return None
        binary: Mapping[str, str] = manifest.get("data" if kind == "Secret" else "binaryData") or {}
        text: Mapping[str, str] = manifest.get("stringData" if kind == "Secret" else "data") or {}
        try:
            decoded = {key: base64.b64decode(value, validate=True) for key, value in binary.items()}
        except ValueError as error:
            raise NotMountable(f"{kind} {namespace}/{name} has a value that is not base64") from error
        return decoded | {key: value.encode() for key, value in text.items()}
