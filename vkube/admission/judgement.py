"""The webhook's decision about one Pod, with what came of it."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonpatch

from vkube.admission import namespace_annotations
from vkube.local.admission import review_of
from webhook.admission import admit
from webhook.errors import BadRequestError
from webhook.namespace_defaults import defaults, inherited
from webhook.reasons import AdmissionReason
from webhook.settings import Settings
from webhook.volume_support import NO_CLUSTER, VolumeSupport

Object = dict[str, Any]
# Served: the Pod has an identity, or gets one.
_SERVED = (
    AdmissionReason.INJECTED,
    AdmissionReason.SOCKET_ADDED,
    AdmissionReason.ALREADY_INJECTED,
    AdmissionReason.VOLUME_INJECTED,
    AdmissionReason.VOLUME_MOUNTED,
)


@dataclass(frozen=True)
class Judgement:
    """What the webhook answers about `pod`, and the Pod that comes of it."""

    pod: Object
    patched: Object
    patch: list[Object]
    reason: AdmissionReason
    message: str
    allowed: bool
    warnings: tuple[str, ...]

    @property
    def served(self) -> bool:
        """Whether the Pod gets an identity, or has it already."""
        return self.allowed and self.reason in _SERVED

    @property
    def by_volume(self) -> bool:
        """Whether the kubelet would keep its identity, without a pod agent."""
        return self.allowed and self.reason in (
            AdmissionReason.VOLUME_INJECTED,
            AdmissionReason.VOLUME_MOUNTED,
        )

    @property
    def outcome(self) -> str:
        """In one word: injected, skipped, refused."""
        if not self.allowed:
            return "refused"
        return "injected" if self.served else "skipped"


def judge(
    pod: Object,
    settings: Settings,
    support: VolumeSupport = NO_CLUSTER,
    namespace: Mapping[str, Any] | None = None,
) -> Judgement:
    """The webhook's own answer about the creation of `pod`, which has a name and a namespace, with `support`
    as what it finds of the cluster's kubelets, and the annotations of the object `namespace`."""
    of_namespace = namespace_annotations.of(namespace)
    stated = inherited(of_namespace)
    own = defaults(stated, settings.injection(), images_permitted=settings.namespace_images)
    try:
        admission = admit(review_of(pod), lambda _: own, settings.left_alone(), support)
    except BadRequestError as error:
        return Judgement(pod, pod, [], error.reason, str(error), False, ())
    response = admission.answer["response"]
    patch = json.loads(base64.b64decode(response["patch"])) if "patch" in response else []
    return Judgement(
        pod=pod,
        patched=jsonpatch.apply_patch(copy.deepcopy(pod), patch),
        patch=patch,
        reason=admission.reason,
        message=admission.message,
        allowed=bool(response["allowed"]),
        warnings=(*(response.get("warnings") or ()), *namespace_annotations.without_effect(namespace)),
    )
