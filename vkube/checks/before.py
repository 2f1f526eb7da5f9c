"""Checks of a cluster before the product is installed."""

from __future__ import annotations

import re

from vkube.checks.check import Check, Found, Problems, Verdict
from vkube.checks.facts import RIGHTS, Facts

OLDEST = (1, 30)
_GROUPS = {
    "admissionregistration.k8s.io": "the webhook and its policies",
    "apps": "Deployments",
    "authentication.k8s.io": "TokenReview, by which tokens are attested",
    "authorization.k8s.io": "access reviews",
    "discovery.k8s.io": "EndpointSlices",
    "networking.k8s.io": "NetworkPolicies",
    "policy": "PodDisruptionBudgets and evictions",
    "rbac.authorization.k8s.io": "roles",
}


def _minor(version: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _version(facts: Facts) -> Problems:
    found = _minor(facts.version)
    if found is None or found < OLDEST:
        yield Found(
            f"the API server is {facts.version}", f"Kubernetes {OLDEST[0]}.{OLDEST[1]} or newer is needed"
        )


def _group(name: str) -> Check:
    def problems(facts: Facts) -> Problems:
        if name not in facts.groups:
            yield Found(
                f"the API server does not serve {name}, needed for {_GROUPS[name]}", "enable the group"
            )

    return Check(f"API group {name}", problems)


def _right(group: str, resource: str) -> Check:
    def problems(facts: Facts) -> Problems:
        if not facts.rights.get((group, resource)):
            yield Found(
                f"you may not create {resource}",
                "install as an administrator of the cluster; what is installed works without this",
                Verdict.WARN if facts.installed else Verdict.FAIL,
            )

    return Check(f"right to create {resource}", problems)


def _nodes(facts: Facts) -> Problems:
    if not facts.nodes:
        yield Found("there is no node, or you may not list nodes", "add a node", Verdict.WARN)


def _ready_nodes(facts: Facts) -> Problems:
    for node in facts.nodes:
        conditions = (node.get("status") or {}).get("conditions") or []
        if not any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions):
            yield Found(
                f"node {node['metadata']['name']} is not ready", "kubectl describe node", Verdict.WARN
            )


def _linux_nodes(facts: Facts) -> Problems:
    systems = [_of_node(one, "operatingSystem") for one in facts.nodes]
    # A virtual kubelet may state none.
    if facts.nodes and not {"linux", ""} & set(systems):
        yield Found("no node runs Linux", "the product's images are for Linux: add such a node")


def _kubelets(facts: Facts) -> Problems:
    for node in facts.nodes:
        found = _minor(_of_node(node, "kubeletVersion"))
        if found is not None and found < OLDEST:
            yield Found(
                f"the kubelet of node {node['metadata']['name']} is {_of_node(node, 'kubeletVersion')}",
                "upgrade it: older kubelets may lack native sidecars",
            )


def _of_node(node: dict[str, object], field: str) -> str:
    status = node.get("status")
    info = status.get("nodeInfo") if isinstance(status, dict) else None
    return str(info.get(field, "")) if isinstance(info, dict) else ""


def _storage(facts: Facts) -> Problems:
    key = "storageclass.kubernetes.io/is-default-class"
    default = any(
        (one["metadata"].get("annotations") or {}).get(key) == "true" for one in facts.storage_classes
    )
    bound = any((one.get("status") or {}).get("phase") == "Bound" for one in facts.claims)
    if not default and not bound:
        yield Found(
            "there is no default StorageClass",
            "the volume of the cluster agent's store waits until there is one, or a volume that fits",
            Verdict.WARN,
        )


def _others(facts: Facts) -> Problems:
    """Webhooks that run after ours, on Pods, and stop them when they are away."""
    for name, configuration in facts.webhook_configurations.items():
        for hook in configuration.get("webhooks") or []:
            on_pods = any("pods" in (rule.get("resources") or []) for rule in hook.get("rules") or [])
            if name != "vanadium-webhook" and on_pods and hook.get("reinvocationPolicy") != "IfNeeded":
                yield Found(
                    f"webhook {hook['name']} changes Pods too",
                    "if it looks at sidecars, set its reinvocationPolicy to IfNeeded",
                    Verdict.WARN,
                )


def _readable(facts: Facts) -> Problems:
    namespaces: dict[str, list[str]] = {}
    for one in sorted(set(facts.unreadable)):
        resource, _, namespace = one.partition(" of namespace ")
        namespaces.setdefault(resource, []).extend([namespace] if namespace else [])
    listed = [_of_namespaces(resource, of) for resource, of in namespaces.items()]
    if listed:
        yield Found(
            f"cannot read {', '.join(listed)}",
            "the checks that need it are not complete: give yourself the right",
            Verdict.WARN,
        )


def _of_namespaces(resource: str, namespaces: list[str]) -> str:
    if len(namespaces) > 1:
        return f"{resource} of {len(namespaces)} namespaces"
    return " of namespace ".join([resource, *namespaces])


CHECKS: tuple[Check, ...] = (
    Check("version of Kubernetes", _version),
    *(_group(name) for name in _GROUPS),
    *(_right(*one) for one in RIGHTS),
    Check("what is checked can be read", _readable),
    Check("nodes", _nodes),
    Check("nodes are ready", _ready_nodes),
    Check("nodes with Linux", _linux_nodes),
    Check("version of the kubelets", _kubelets),
    Check("storage for the cluster agent", _storage),
    Check("other webhooks on Pods", _others),
)
