"""The guard: the admission policy that lets only kubelets ask our signer for certificates.

A request does not state who made it. So nothing is signed unless the API server has the policy, and a
binding that denies, as deploy/base/policy-pod-certificates.yaml has them: a policy that was narrowed, or
bound to some namespaces only, is none. The policy judges a request when it is made, and never later: a
request from before it was there, or while it was another one, is not answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from cluster_agent.errors import Unavailable
from cluster_agent.kubernetes.pod_requests import GUARD as POLICY
from cluster_agent.kubernetes.watched import ApiServerAway
from cluster_agent.pod_requests.request import PodRequest

# Each API server follows the policies by a watch, once a second, and then has to compile them; their clocks
# may differ too.
SETTLING = timedelta(seconds=15)
MADE_UNGUARDED = "MadeUnguarded"
EXPRESSION = (
    "object.spec.signerName != 'vanadium.io/replica' || (request.userInfo.username == 'system:node:' + "
    "object.spec.nodeName && 'system:nodes' in request.userInfo.groups)"
)
Objects = tuple[dict[str, Any] | None, dict[str, Any] | None]
_RULE = {
    "apiGroups": ["certificates.k8s.io"],
    "apiVersions": ["*"],
    "operations": ["CREATE"],
    "resources": ["podcertificaterequests"],
    "scope": "Namespaced",
}


def gap(policy: Mapping[str, Any] | None, binding: Mapping[str, Any] | None) -> str | None:
    """What the policy or its binding lacks; None when they guard all requests."""
    if policy is None or binding is None:
        return f"there is no ValidatingAdmissionPolicy{'Binding' if policy else ''} {POLICY}"
    spec, bound = policy.get("spec") or {}, binding.get("spec") or {}
    constraints = spec.get("matchConstraints") or {}
    faults = {
        "failurePolicy is not Fail": spec.get("failurePolicy") != "Fail",
        "its expression is another one": EXPRESSION
        not in [one.get("expression") for one in spec.get("validations") or ()],
        "it has conditions": bool(spec.get("matchConditions")),
        "its rule is another one": _RULE not in (constraints.get("resourceRules") or ()),
        "it excludes some requests": any(
            constraints.get(key) for key in ("excludeResourceRules", "namespaceSelector", "objectSelector")
        ),
        "it has parameters": bool(spec.get("paramKind")),
        "its binding is for another policy": bound.get("policyName") != POLICY,
        "its binding does not deny": "Deny" not in (bound.get("validationActions") or ()),
        "its binding is for some requests only": bool(bound.get("matchResources") or bound.get("paramRef")),
    }
    found = [what for what, is_so in faults.items() if is_so]
    return f"ValidatingAdmissionPolicy {POLICY}: {'; '.join(found)}" if found else None


def unchanged_since(found: Mapping[str, Any]) -> datetime:
    """Since when an object has had its spec, or longer. Raises ValueError where nothing tells."""
    metadata = found["metadata"]
    if metadata.get("generation") == 1:
        return datetime.fromisoformat(metadata["creationTimestamp"])
    # The API server sets these at each change of what a client owns.
    return max(
        datetime.fromisoformat(one["time"])
        for one in metadata.get("managedFields") or ()
        if one.get("subresource") != "status"
    )


class Guard:
    """The policy and its binding, as `read` finds them at the API server."""

    def __init__(self, read: Callable[[], Awaitable[Objects]]) -> None:
        self._read = read
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._since: datetime | None = None

    async def require(self) -> datetime:
        """Reads them. Returns since when they have guarded all requests; raises Unavailable where they do
        not."""
        at = asyncio.get_running_loop().time()
        try:
            policy, binding = await self._read()
        except ApiServerAway as error:
            raise Unavailable("ApiServerAway", str(error)) from error
        found = gap(policy, binding)
        if found is not None or policy is None or binding is None:
            raise Unavailable("NotGuarded", f"{found}; apply deploy/base again")
        try:
            since = max(unchanged_since(policy), unchanged_since(binding))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unavailable(
                "NotGuarded",
                f"{POLICY} does not state when it was changed: delete it and its binding, then apply "
                "deploy/base again",
            ) from error
        self._read_at, self._since = at, since
        return since

    async def require_judged(self, request: PodRequest, seen_at: float) -> None:
        """Raises Unavailable for a request that was made when they did not guard, or not for long enough.
        `seen_at` is when it was first seen here, on the clock of the loop: what was read since then tells of
        the time at which it was made."""
        async with self._reading:
            since = self._since if self._read_at >= seen_at else None
            if since is None:
                since = await self.require()
        if request.created_at < since + SETTLING:
            raise Unavailable(
                MADE_UNGUARDED,
                f"the request was made before {POLICY} had been in force for {SETTLING.seconds} s, so nobody "
                "knows by whom; Kubernetes deletes it after a quarter of an hour, and the kubelet asks anew. "
                "A new Pod need not wait: delete this one",
            )
