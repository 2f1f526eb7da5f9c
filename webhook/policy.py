"""Who gets an identity, and why not.

Whether the namespace asks for it is decided before anybody calls us, by the webhook configuration's
`namespaceSelector`: a request that arrives is from a labelled namespace. What is decided here is what a
selector cannot express, or must hold even if the configuration has been changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from webhook.errors import RefusalError
from webhook.layout import DISABLED, ENABLED, INJECT_LABEL
from webhook.pod import Pod
from webhook.reasons import Reason
from webhook.review import AdmissionRequest

# Pods that the cluster itself needs to come up: an identity must never be what stops them.
CLUSTER_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_POD_RESOURCE = ("", "pods")


@dataclass(frozen=True)
class Skip:
    """The Pod stays as it is, for this reason."""

    reason: Reason
    message: str
    warning: bool = False
    """Whether the Pod's author should hear of it: the namespace asked for an identity and the Pod looks
    as if it could have one."""


def skip_request(request: AdmissionRequest, excluded_namespaces: frozenset[str]) -> Skip | None:
    """Why the request is none of ours, before its object is looked at; None when it is."""
    if request.operation != "CREATE":
        return Skip(Reason.NOT_A_CREATE, f"operation {request.operation}: only new Pods get an identity")
    if (request.group, request.resource) != _POD_RESOURCE:
        return Skip(Reason.NOT_A_POD, f"resource {request.resource}: only Pods get an identity")
    if request.subresource:
        return Skip(Reason.SUBRESOURCE, f"subresource {request.subresource}: only new Pods get an identity")
    if request.namespace in excluded_namespaces:
        return Skip(Reason.EXCLUDED_NAMESPACE, f"Pods of the namespace {request.namespace} are left alone")
    return None


def skip_pod(pod: Pod) -> Skip | None:
    """Why the Pod gets no identity; None when it does.

    Raises:
        RefusalError: the Pod's label says neither yes nor no.
        WrongTypeError: a field that decides has another type than it must.
    """
    # First: the kubelet made it from a file and deletes it if it comes back changed; and its author
    # reaches no API server that could tell him of a wrong label.
    if MIRROR_ANNOTATION in pod.annotations:
        return Skip(Reason.MIRROR_POD, "a mirror Pod shows what the kubelet runs and cannot be changed")
    label = pod.labels.get(INJECT_LABEL)
    if label == DISABLED:
        return Skip(Reason.DISABLED_BY_LABEL, f"the Pod is labelled {INJECT_LABEL}={DISABLED}")
    if label not in (None, ENABLED):
        raise RefusalError(
            Reason.INVALID_LABEL,
            f"label {INJECT_LABEL}: {label!r}: expected {ENABLED} or {DISABLED}, or no such label",
        )
    if pod.operating_system == "windows":
        return Skip(Reason.WINDOWS_POD, "os.name is windows: there is no pod agent for Windows", warning=True)
    if pod.host_network and label != ENABLED:
        return Skip(
            Reason.HOST_NETWORK,
            f"the Pod uses the node's network, where the pod agent would take a port of the node: "
            f"label it {INJECT_LABEL}={ENABLED} to have an identity all the same",
            warning=True,
        )
    return None
