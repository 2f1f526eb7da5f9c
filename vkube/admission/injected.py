"""Whether a Pod has what the webhook adds."""

from __future__ import annotations

from vkube.workloads.template import Object
from webhook import volume
from webhook.layout import CONTAINER


def is_injected(pod: Object) -> bool:
    """Whether the Pod has a container with the pod agent's name, or the volume that a kubelet keeps."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    has_agent = any(isinstance(one, dict) and one.get("name") == CONTAINER for one in containers)
    return has_agent or has_volume(pod)


def has_volume(pod: Object) -> bool:
    """Whether the kubelet keeps the Pod's identity in a volume."""
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return any(isinstance(one, dict) and volume.is_ours(one) for one in volumes)
