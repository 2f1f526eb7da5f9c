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
from cluster_agent.publications import ROOTS
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store.fleet import Fleet

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
    """Keeps the bundle. With a `keeper` of roots, the store learns since when kubelets can read its state, so
    that no prepared root signs before they have it."""

    def __init__(
        self,
        api: Objects,
        room: SigningRoom,
        keeper: RootKeeper | None,
        fleet: Fleet,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._room = room
        self._keeper = keeper
        self._fleet = fleet
        self._now = now

    async def keep(self) -> float | None:
        """One round. Returns when to look again, where the API server has no such resource. Raises
        Unavailable."""
        if not self._room.identity_roots:
            return None  # unclaimed
        self._room.check_view(self._now())
        state = None if self._keeper is None else self._keeper.state
        try:
            outcome = await self._write(bundle(self._room.identity_roots if state is None else state.bundle))
        except ApiCallError as error:
            raise Unavailable("TrustBundleNotKept", str(error)) from error
        if outcome is None:
            return NOT_SERVED_SECONDS
        if state is not None:
            # If another program changed it, kubelets may have had other roots.
            await self._fleet.published_to_kubelets(ROOTS, state.version, self._now(), again=outcome)
        return None

    async def _write(self, wanted: dict[str, Any]) -> bool | None:
        """Makes the API server's bundle the wanted one; returns whether it was another one, and None when it
        has no bundles at all."""
        try:
            found = await self._api.read(f"{_PATH}/{NAME}", {}, "application/json")
        except ApiCallError as error:
            if error.status != 404:
                raise
            return await self._create(wanted)
        if found.get("spec") == wanted["spec"]:
            return False
        metadata = found.get("metadata") or {}
        await self._api.replace(f"{_PATH}/{NAME}", {**wanted, "metadata": metadata})
        _log.info("ClusterTrustBundle has the current roots", name=NAME)
        return True

    async def _create(self, wanted: dict[str, Any]) -> bool | None:
        try:
            await self._api.create(_PATH, wanted)
        except ApiCallError as error:
            if error.status == 404:
                return None
            raise
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
