"""The interface to everything that Pods need from a cluster besides themselves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol


class Resources(Protocol):
    """A cluster's objects, or local mode's stand-ins for them."""

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """The data of a Secret; None when there is none."""

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """The data of a ConfigMap; None when there is none."""

    async def claim(self, namespace: str, name: str) -> Path | None:
        """The directory behind a PersistentVolumeClaim; None when there is none. Raises UnsupportedPod."""

    async def token(
        self,
        namespace: str,
        service_account: str,
        audience: str,
        expiration_seconds: int,
        pod_name: str,
        pod_uid: str,
    ) -> tuple[str, datetime]:
        """A token bound to the Pod, and its expiry. Raises NotMountable."""
