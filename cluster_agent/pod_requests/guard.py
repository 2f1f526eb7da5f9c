"""The guard: the admission policy that lets only kubelets ask our signer for certificates.

A request does not state who made it. So nothing is signed unless the API server has the policy, and a
binding that denies, as deploy/base/policy-pod-certificates.yaml has them: a policy that was narrowed, or
bound to some namespaces only, is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster_agent.kubernetes.pod_requests import GUARD as POLICY

EXPRESSION = (
    "object.spec.signerName != 'vanadium.io/replica' || (request.userInfo.username == 'system:node:' + "
    "object.spec.nodeName && 'system:nodes' in request.userInfo.groups)"
)
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
            constraints.get(key)
            for key in ("excludeResourceRules", "namespaceSelector", "objectSelector", "paramKind")
        ),
        "its binding is for another policy": bound.get("policyName") != POLICY,
        "its binding does not deny": "Deny" not in (bound.get("validationActions") or ()),
        "its binding is for some requests only": bool(bound.get("matchResources") or bound.get("paramRef")),
    }
    found = [what for what, is_so in faults.items() if is_so]
    return f"ValidatingAdmissionPolicy {POLICY}: {'; '.join(found)}" if found else None
