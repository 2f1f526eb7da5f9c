"""Whether a Pod has an identity: the pod agent with its volumes, or the volume that the kubelet keeps.

The policy vanadium-not-injected (deploy/base) states the same in CEL.
"""

from __future__ import annotations

from webhook import clashes, volume
from webhook.errors import RefusalError
from webhook.layout import CONTAINER
from webhook.pod import Pod


def has_identity(pod: Pod) -> bool:
    """Whether the Pod gets an identity as it is, whatever else the webhook would refuse about it. A container
    or a volume that only has one of our names counts for nothing.

    Raises:
        WrongTypeError: a field that decides has the wrong type.
    """
    return any(volume.is_ours(one) for one in pod.volumes) or _has_pod_agent(pod)


def _has_pod_agent(pod: Pod) -> bool:
    if not any(container.name == CONTAINER for container in pod.containers):
        return False
    try:
        clashes.refuse_container_clash(pod.containers)
        clashes.refuse_foreign_volumes(pod)
    except RefusalError:
        return False
    return True
