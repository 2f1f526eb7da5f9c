"""Resources of a real API server that Pods need: Secrets, ConfigMaps, and tokens by the TokenRequest API."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from vkube.runner.errors import NotMountable, UnsupportedPod


class KubernetesResources:
    """Reads with one API client, in threads because the client blocks."""

    def __init__(self, core: client.CoreV1Api) -> None:
        self._core = core

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        found = await asyncio.to_thread(_found, self._core.read_namespaced_secret, name, namespace)
        return None if found is None else _decoded(found.data)

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes] | None:
        found = await asyncio.to_thread(_found, self._core.read_namespaced_config_map, name, namespace)
        if found is None:
            return None
        return _decoded(found.binary_data) | {key: text.encode() for key, text in (found.data or {}).items()}

    async def claim(self, namespace: str, name: str) -> Path | None:
        raise UnsupportedPod(
            f"the Pod uses PersistentVolumeClaim {namespace}/{name}: a node of processes has no volumes"
        )

    async def token(
        self,
        namespace: str,
        service_account: str,
        audience: str,
        expiration_seconds: int,
        pod_name: str,
        pod_uid: str,
    ) -> tuple[str, datetime]:
        reference = client.V1BoundObjectReference(api_version="v1", kind="Pod", name=pod_name, uid=pod_uid)
        spec = client.V1TokenRequestSpec(
            audiences=[audience] if audience else [],
            bound_object_ref=reference,
            expiration_seconds=expiration_seconds,
        )
        request = client.AuthenticationV1TokenRequest(spec=spec)
        create = self._core.create_namespaced_service_account_token
        try:
            answer: Any = await asyncio.to_thread(create, service_account, namespace, request)
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            reason = error.reason if isinstance(error, ApiException) else type(error).__name__
            raise NotMountable(
                f"no token for service account {namespace}/{service_account}: {reason}"
            ) from error
        return answer.status.token, answer.status.expiration_timestamp.astimezone(UTC)


def _found(read: Any, name: str, namespace: str) -> Any:
    try:
        return read(name, namespace)
    except (ApiException, urllib3.exceptions.HTTPError) as error:
        if isinstance(error, ApiException) and error.status == HTTPStatus.NOT_FOUND:
            return None
        raise NotMountable(f"cannot read {namespace}/{name}: {type(error).__name__}") from error


def _decoded(data: Mapping[str, Any] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (data or {}).items()}
