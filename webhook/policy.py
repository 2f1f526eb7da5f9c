"""The policy: which Pods get an identity, and the reason when one does not.

Whether the namespace wants identities is decided before the webhook is called, by the `namespaceSelector` of
the webhook configuration: every request is from a labelled namespace. This module decides what a selector
cannot express, and what must hold even if an administrator changed the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

from webhook.errors import RefusalError
from webhook.layout import DISABLED, ENABLED, INJECT_LABEL
from webhook.pod import Pod
from webhook.reasons import AdmissionReason
from webhook.review import AdmissionRequest
from webhook.windows import windows_field

# The cluster itself needs Pods of these namespaces to start: an identity must never prevent that.
CLUSTER_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_POD_RESOURCE = ("", "pods")


@dataclass(frozen=True)
class Skip:
    """The Pod stays as it is, for this reason."""

    reason: AdmissionReason
    message: str
    warning: bool = False
    """Whether to warn the pod author: the namespace asked for an identity, and the Pod looks as if it could
    have one."""


def skip_request(request: AdmissionRequest, excluded_namespaces: frozenset[str]) -> Skip | None:
    """Why the request is not for us, before its object is read; None when it is."""
    if request.namespace in excluded_namespaces:
        return Skip(
            AdmissionReason.EXCLUDED_NAMESPACE, f"Pods of the namespace {request.namespace} are left alone"
        )
    if request.adds_ephemeral_containers:
        return None
    if request.operation != "CREATE":
        return Skip(
            AdmissionReason.NOT_A_CREATE, f"operation {request.operation}: only new Pods get an identity"
        )
    if (request.group, request.resource) != _POD_RESOURCE:
        return Skip(AdmissionReason.NOT_A_POD, f"resource {request.resource}: only Pods get an identity")
    if request.subresource:
        return Skip(
            AdmissionReason.SUBRESOURCE, f"subresource {request.subresource}: only new Pods get an identity"
        )
    return None


def skip_pod(pod: Pod) -> Skip | None:
    """Why the Pod gets no identity; None when it gets one.

    Raises:
        RefusalError: the Pod's label is neither enabled nor disabled.
        WrongTypeError: a field that decides has the wrong type.
    """
    # This check is first. The kubelet made the Pod from a file, and deletes it if it comes back changed; and
    # no API server could tell the author of that file about a wrong label.
    if MIRROR_ANNOTATION in pod.annotations:
        return Skip(
            AdmissionReason.MIRROR_POD, "a mirror Pod shows what the kubelet runs and cannot be changed"
        )
    label = pod.labels.get(INJECT_LABEL)
    if label == DISABLED:
        return Skip(AdmissionReason.DISABLED_BY_LABEL, f"the Pod is labelled {INJECT_LABEL}={DISABLED}")
    if label not in (None, ENABLED):
        raise RefusalError(
            AdmissionReason.INVALID_LABEL,
            f"label {INJECT_LABEL}: {label!r}: expected {ENABLED} or {DISABLED}, or no such label",
        )
    if (field := windows_field(pod)) is not None:
        return Skip(
            AdmissionReason.WINDOWS_POD,
            f"the Pod is for Windows, as its {field} states: there is no pod agent for Windows",
            warning=True,
        )
    if pod.host_network and label != ENABLED:
        return Skip(
            AdmissionReason.HOST_NETWORK,
            f"the Pod uses the node's network, as the cluster's own parts do, which must start without us: "
            f"label it {INJECT_LABEL}={ENABLED} to have an identity all the same",
            warning=True,
        )
    return None
