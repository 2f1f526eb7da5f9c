"""Whether a Pod has what gives it an identity."""

from __future__ import annotations

from vkube.workloads.template import Object
from webhook.layout import CONTAINER, SIGNER


def is_injected(pod: Object) -> bool:
    """Whether the Pod has a container with the pod agent's name, or a volume that a kubelet keeps."""
    return _has_pod_agent(pod) or has_certificate(pod)


def has_volume(pod: Object) -> bool:
    """Whether the kubelet keeps the Pod's identity in a volume, and no pod agent does."""
    return has_certificate(pod) and not _has_pod_agent(pod)


def has_certificate(pod: Object) -> bool:
    """Whether the kubelet asks for a certificate of ours for the Pod, for the webhook's volume or one that
    its author wrote (docs/pod-certificates.md, The volume)."""
    for one in (pod.get("spec") or {}).get("volumes") or []:
        match one:
            case {"projected": {"sources": [*sources]}}:
                if any(_is_certificate(source) for source in sources):
                    return True
    return False


def _is_certificate(source: object) -> bool:
    match source:
        case {"podCertificate": {"signerName": signer}}:
            return bool(signer == SIGNER)
        case _:
            return False


def _has_pod_agent(pod: Object) -> bool:
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return any(isinstance(one, dict) and one.get("name") == CONTAINER for one in containers)
