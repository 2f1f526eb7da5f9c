"""How a Pod gets its identity: from the pod agent in a sidecar, or from the kubelet in a volume.

The annotation `vanadium.io/delivery` of the Pod decides, else that of its namespace. What is in the Pod
already stays, so that a second call changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from webhook import recognition, volume
from webhook.annotations import TTL, read_ttl
from webhook.errors import RefusalError
from webhook.layout import CONTAINER, DELIVERY_ANNOTATION, IDENTITY_VOLUME
from webhook.pod import Pod
from webhook.reasons import AdmissionReason
from webhook.volume_support import VolumeSupport


class Delivery(StrEnum):
    """A value of the annotation."""

    SIDECAR = "sidecar"
    VOLUME = "volume"
    AUTO = "auto"


class Decision(NamedTuple):
    """The volume or not, and why: empty where nobody stated anything."""

    is_volume: bool
    why: str = ""
    warning: str = ""
    is_present: bool = False
    """Whether our volume is in the Pod already."""
    federated: tuple[str, ...] = ()
    """The federated trust domains whose roots the volume gets."""

    @property
    def described(self) -> str:
        """The decision and its reason, in a line; empty where nobody stated anything."""
        chosen = Delivery.VOLUME if self.is_volume else Delivery.SIDECAR
        return self.why and f"{chosen}: {self.why}"


_SIDECAR = Decision(False)


def stated(value: str) -> Delivery:
    """The meaning of an annotation's value. Raises RefusalError."""
    try:
        return Delivery(value)
    except ValueError:
        shown = value if len(value) <= 64 else value[:61] + "..."
        raise RefusalError(
            AdmissionReason.INVALID_ANNOTATION,
            f"annotation {DELIVERY_ANNOTATION}: {shown!r}: expected one of {', '.join(Delivery)}",
        ) from None


def decide(pod: Pod, support: VolumeSupport) -> Decision:
    """How the Pod gets its identity.

    Raises:
        RefusalError: a volume is asked for or in the Pod, and no Pod of this cluster, or not this one, can
            have it; or an annotation cannot be used.
        WrongTypeError: a field that decides has the wrong type.
    """
    named = pod.annotations.get(DELIVERY_ANNOTATION)
    has_volume = any(one.get("name") == IDENTITY_VOLUME and volume.is_ours(one) for one in pod.volumes)
    if named is None and not has_volume:
        return _SIDECAR
    wanted = Delivery.SIDECAR if named is None else stated(named)
    if any(one.name == CONTAINER and recognition.is_pod_agent(one) for one in pod.containers):
        return Decision(False, "the Pod has the pod agent already")
    if has_volume:
        if (why := support.impossible or _life_objection(pod, support)) is not None:
            raise _not_possible(f"the Pod has the volume {IDENTITY_VOLUME}", why)
        return Decision(True, "the Pod has the volume already", is_present=True)
    if wanted is Delivery.SIDECAR:
        return Decision(False, f"{DELIVERY_ANNOTATION} is {wanted}")
    return _asked(pod, support) if wanted is Delivery.VOLUME else _automatic(pod, support)


def _asked(pod: Pod, support: VolumeSupport) -> Decision:
    asked = f"{DELIVERY_ANNOTATION} is {Delivery.VOLUME}"
    if support.impossible is not None:
        raise _not_possible(asked, support.impossible)
    if _is_too_short(pod):
        raise RefusalError(
            AdmissionReason.INVALID_ANNOTATION,
            f"annotation {TTL}: {pod.annotations[TTL]!r}: expected 1 h or longer with a volume, because "
            f"Kubernetes signs no shorter certificate; or {DELIVERY_ANNOTATION}: {Delivery.SIDECAR}",
        )
    if (why := _life_objection(pod, support)) is not None:
        raise _not_possible(asked, why)
    warning = f"on such a node the Pod would not start: {support.incomplete}" if support.incomplete else ""
    return Decision(True, asked, warning, federated=support.federated)


def _automatic(pod: Pod, support: VolumeSupport) -> Decision:
    asked = f"{DELIVERY_ANNOTATION} is {Delivery.AUTO}"
    if support.objection is not None:
        return Decision(False, f"{asked}, and {support.objection}")
    if _is_too_short(pod):
        return Decision(False, f"{asked}, and {TTL} is shorter than 1 h")
    if (why := _life_objection(pod, support)) is not None:
        return Decision(False, f"{asked}, and {why}")
    return Decision(True, f"{asked}, and the kubelet of each node can", federated=support.federated)


def _is_too_short(pod: Pod) -> bool:
    seconds = read_ttl(pod.annotations)
    return seconds is not None and seconds < volume.SHORTEST_TTL


def _life_objection(pod: Pod, support: VolumeSupport) -> str | None:
    return support.ttls.objection(pod.namespace, pod.service_account)


def _not_possible(what: str, why: str) -> RefusalError:
    return RefusalError(
        AdmissionReason.VOLUME_NOT_POSSIBLE,
        f"{what}, and {why}: use {DELIVERY_ANNOTATION}: {Delivery.AUTO} or {Delivery.SIDECAR}",
    )
