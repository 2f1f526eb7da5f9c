"""The ClusterTrustBundle with the identity roots, which kubelets project beside the certificates.

The replica of the agent that leads keeps it: through the phases of a root's rotation, and as it was when
another program changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import structlog

from blessings import Roots
from blessings.encoding.chains import to_pem
from cluster_agent.errors import Unavailable
from cluster_agent.kubernetes.api import ApiCallError
from cluster_agent.kubernetes.pod_requests import GROUP, SIGNER_NAME
from cluster_agent.signing.room import SigningRoom

NAME = "vanadium.io:replica:roots"
_PATH = f"{GROUP}/clustertrustbundles"
_LABELS = {"app.kubernetes.io/part-of": "vanadium-cluster"}
# How often to look whether the API server has learnt of the resource.
NOT_SERVED_SECONDS = 600.0
_log = structlog.get_logger("cluster_agent")


class Objects(Protocol):
    """The API server. Every call raises ApiCallError."""

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]: ...

    async def read(
        self, path: str, parameters: Mapping[str, str], accept: str, *, most_bytes: int | None = None
    ) -> dict[str, Any]: ...

    async def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]: ...


class TrustBundleKeeper:
    """Keeps the bundle. `published_at` is since when the API server has had the roots that are `published`;
    None while it is not known."""

    def __init__(self, api: Objects, room: SigningRoom, now: Callable[[], datetime]) -> None:
        self._api = api
        self._room = room
        self._now = now
        self.published: Roots | None = None
        self.published_at: datetime | None = None

    async def keep(self) -> float | None:
        """One round. Returns when to look again, where the API server has no such resource. Raises
        Unavailable."""
        if not self._room.identity_roots:
            return None  # unclaimed
        self._room.check_view(self._now())
        roots = self._room.identity_roots
        try:
            served = await self._write(bundle(roots))
        except ApiCallError as error:
            raise Unavailable("TrustBundleNotKept", str(error)) from error
        if not served:
            self.rest()
            return NOT_SERVED_SECONDS
        if self.published != roots:
            self.published, self.published_at = roots, self._now()
        return None

    def rest(self) -> None:
        """Another replica keeps it."""
        self.published = self.published_at = None

    async def _write(self, wanted: dict[str, Any]) -> bool:
        """Makes the API server's bundle the wanted one; returns whether it has bundles at all."""
        try:
            found = await self._api.read(f"{_PATH}/{NAME}", {}, "application/json")
        except ApiCallError as error:
            if error.status != 404:
                raise
            return await self._create(wanted)
        if found.get("spec") == wanted["spec"]:
            return True
        metadata = found.get("metadata") or {}
        await self._api.replace(f"{_PATH}/{NAME}", {**wanted, "metadata": metadata})
        # If another program changed it, kubelets may have had the other roots.
        self.rest()
        _log.info("ClusterTrustBundle has the current roots", name=NAME)
        return True

    async def _create(self, wanted: dict[str, Any]) -> bool:
        try:
            await self._api.create(_PATH, wanted)
        except ApiCallError as error:
            if error.status == 404:
                return False
            raise
        self.rest()
        _log.info("ClusterTrustBundle made", name=NAME)
        return True


def bundle(roots: Roots) -> dict[str, Any]:
    """The object with these roots."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "ClusterTrustBundle",
        "metadata": {"name": NAME, "labels": _LABELS},
        "spec": {"signerName": SIGNER_NAME, "trustBundle": to_pem(one.certificate for one in roots)},
    }
