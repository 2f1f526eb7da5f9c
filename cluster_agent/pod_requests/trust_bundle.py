"""The ClusterTrustBundle with the identity roots, which kubelets project beside the certificates.

The replica of the agent that leads keeps it: through the phases of a root's rotation, and as it was when
another program changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from cluster_agent.errors import Unavailable
from cluster_agent.kubernetes.api import ApiCallError
from cluster_agent.kubernetes.trust_bundles import bundle
from cluster_agent.kubernetes.watched import NotServed
from cluster_agent.publications import ROOTS
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store.fleet import Fleet

NAME = "vanadium.io:replica:roots"
# How often to look whether the API server has learnt of the resource.
NOT_SERVED_SECONDS = 600.0


class Bundles(Protocol):
    """The API server. Every call raises ApiCallError, NotServed."""

    async def keep(self, wanted: dict[str, Any]) -> bool: ...


class TrustBundleKeeper:
    """Keeps the bundle. With a `keeper` of roots, the store learns since when kubelets can read its state, so
    that no prepared root signs before they have it."""

    def __init__(
        self,
        bundles: Bundles,
        room: SigningRoom,
        keeper: RootKeeper | None,
        fleet: Fleet,
        now: Callable[[], datetime],
    ) -> None:
        self._bundles = bundles
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
        roots = self._room.identity_roots if state is None else state.bundle
        try:
            changed = await self._bundles.keep(bundle(NAME, (one.certificate for one in roots)))
        except NotServed:
            return NOT_SERVED_SECONDS
        except ApiCallError as error:
            raise Unavailable("TrustBundleNotKept", str(error)) from error
        if state is not None:
            # If another program changed it, kubelets may have had other roots.
            await self._fleet.published_to_kubelets(ROOTS, state.version, self._now(), again=changed)
        return None
