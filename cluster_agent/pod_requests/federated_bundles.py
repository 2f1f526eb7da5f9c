"""A ClusterTrustBundle for each federated trust domain, so that kubelets can put its roots into a file of its
own, beside the identity roots.

One for each, because a program that gets roots in one file accepts any name from all of them, and a root need
not state its trust domain. The replica of the agent that leads keeps them as administrators change them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any, Protocol

import structlog

from blessings import Name, TrustBundle
from cluster_agent.errors import Unavailable
from cluster_agent.federation.bundles import FederatedBundles
from cluster_agent.federation.federation import Federation
from cluster_agent.kubernetes.api import ApiCallError
from cluster_agent.kubernetes.trust_bundles import bundle
from cluster_agent.kubernetes.watched import NotServed
from cluster_agent.pod_requests.trust_bundle import NOT_SERVED_SECONDS

# As webhook/layout.py has it.
PREFIX = "vanadium.io:replica:federated-"
# What Kubernetes accepts after the signer's name: a DNS subdomain.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST = 253 - len("federated-")
# The API server reads certificates more strictly than we do: a URI in one, for example.
_REFUSED = (400, 422)
_log = structlog.get_logger("cluster_agent")


class Bundles(Protocol):
    """The API server. Every call raises ApiCallError, NotServed."""

    async def all(self) -> dict[str, dict[str, Any]]: ...

    async def keep(self, wanted: dict[str, Any]) -> bool: ...

    async def replace(self, found: dict[str, Any], wanted: dict[str, Any]) -> bool: ...

    async def delete(self, name: str) -> None: ...


class FederatedBundlesKeeper:
    """Keeps them as `federation` has them."""

    def __init__(self, bundles: Bundles, federation: Federation) -> None:
        self._bundles = bundles
        self._federation = federation
        self._told: frozenset[str] = frozenset()

    async def keep(self) -> float | None:
        """One round. Returns when to look again, where the API server has no such resource. Raises
        Unavailable, StoreError."""
        # Not what this replica knew when another one led: a bundle that was added since would be deleted.
        await self._federation.look()
        wanted, left_out = objects(self._federation.state)
        if left_out and left_out != self._told:
            _log.warning(
                "trust domains whose names no ClusterTrustBundle can have: no volume gets their roots",
                trustDomains=sorted(left_out),
            )
        self._told = left_out
        try:
            found = {
                name: one for name, one in (await self._bundles.all()).items() if name.startswith(PREFIX)
            }
        except NotServed:
            return NOT_SERVED_SECONDS
        except ApiCallError as error:
            raise Unavailable("TrustBundleNotKept", str(error)) from error
        # One that the API server refuses keeps no other one from its place.
        failed = [await _failure(self._bundles.delete(name)) for name in found if name not in wanted]
        for name, one in wanted.items():
            call = self._bundles.replace(found[name], one) if name in found else self._bundles.keep(one)
            failed.append(refusal := await _failure(call))
            if name in found and refusal is not None and refusal.status in _REFUSED:
                # The roots that are there may have been removed because they are no longer to be trusted.
                failed.append(await _failure(self._bundles.delete(name)))
        if errors := [error for error in failed if error is not None]:
            raise Unavailable("TrustBundleNotKept", str(errors[0])) from errors[0]
        return None


def objects(federated: FederatedBundles) -> tuple[dict[str, dict[str, Any]], frozenset[str]]:
    """The ClusterTrustBundles by name, and the trust domains that can have none. One without a root for
    X.509-SVIDs needs none."""
    made: dict[str, dict[str, Any]] = {}
    left_out: set[str] = set()
    for domain, value in federated.by_domain.items():
        certificates = TrustBundle.from_value(value, Name.parse(domain)).certificates
        if not certificates:
            continue
        if len(domain) > _LONGEST or not _NAME.fullmatch(domain):
            left_out.add(domain)
            continue
        made[PREFIX + domain] = bundle(PREFIX + domain, certificates)
    return made, frozenset(left_out)


async def _failure(call: Awaitable[object]) -> ApiCallError | None:
    try:
        await call
    except ApiCallError as error:
        return error
    return None
