"""Whether one Pod lacks an identity that it could have. Pure: there are no API calls here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from webhook.annotations import IMAGE
from webhook.errors import RefusalError
from webhook.identity import has_identity
from webhook.injection import inject_pod
from webhook.layout import CONTAINER
from webhook.namespace_defaults import Defaults
from webhook.notices.subject import Subject, owner_of
from webhook.pod import Pod
from webhook.policy import skip_pod
from webhook.rawjson import WrongTypeError
from webhook.volume_support import VolumeSupport

Version: TypeAlias = tuple[int, int, int]
# Kept of each Pod until the end of a survey.
_LONGEST_REFUSAL = 200
_TAG = re.compile(r":v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:[-+][\w.-]*)?(?:@sha256:[0-9a-f]+)?$")


class Cause(StrEnum):
    """Why a Pod is to be made again."""

    MISSING = "Missing"
    OUTDATED = "Outdated"


class FoundPod(NamedTuple):
    """What is kept of a Pod that runs, or will. `version` is its resourceVersion; `refused` is why the
    webhook would refuse it now, else empty."""

    name: str
    uid: str
    version: str
    owner: Subject | None
    created_at: str
    is_ready: bool
    has_identity: bool
    cause: Cause | None
    refused: str = ""


@dataclass(frozen=True)
class Physician:
    """Judges Pods by the webhook's own rules.

    Attributes:
        defaults: returns what a namespace decides for its Pods.
        oldest: a pod agent of an older version is no longer supported; None: each one is.
    """

    defaults: Callable[[str], Defaults]
    support: VolumeSupport
    oldest: Version | None = None

    def found(self, raw: dict[str, Any]) -> FoundPod | None:
        """The Pod; None for one that has ended, or is being deleted."""
        metadata, status = raw["metadata"], raw.get("status") or {}
        if "deletionTimestamp" in metadata or status.get("phase") in ("Succeeded", "Failed"):
            return None
        own = self.defaults(metadata["namespace"])
        has, cause, refused = self._judged(Pod(raw, own.annotations), own)
        return FoundPod(
            metadata["name"],
            metadata["uid"],
            metadata["resourceVersion"],
            owner_of(metadata),
            metadata.get("creationTimestamp") or "",
            _is_ready(status),
            has,
            cause,
            refused[:_LONGEST_REFUSAL],
        )

    def _judged(self, pod: Pod, own: Defaults) -> tuple[bool, Cause | None, str]:
        try:
            has = has_identity(pod)
            if skip_pod(pod) is not None:
                return has, None, ""
            if has:
                return True, Cause.OUTDATED if self._is_outdated(pod, own) else None, ""
            own.check()
            inject_pod(pod, own.configuration, self.support)
        except RefusalError as error:
            return False, None, str(error)
        except WrongTypeError as error:  # no API server stores one
            return False, None, f"the Pod is malformed: {error}"
        return False, Cause.MISSING, ""

    def _is_outdated(self, pod: Pod, own: Defaults) -> bool:
        """Not where the pod author, or the namespace, chose an older image: the same one would come again."""
        if self.oldest is None or self._is_older(pod.annotations.get(IMAGE, own.configuration.image)):
            return False
        return any(self._is_older(one.raw.get("image")) for one in pod.containers if one.name == CONTAINER)

    def _is_older(self, image: object) -> bool:
        version = version_of(image) if isinstance(image, str) else None
        return version is not None and self.oldest is not None and version < self.oldest


def version_of(image: str) -> Version | None:
    """The version in an image's tag; None where it has none."""
    found = _TAG.search(image)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def age_key(pod: FoundPod) -> tuple[bool, str, str]:
    """Orders Pods: those that are not ready first, then the oldest."""
    return pod.is_ready, pod.created_at, pod.name


def _is_ready(status: dict[str, Any]) -> bool:
    return any(
        one.get("type") == "Ready" and one.get("status") == "True" for one in status.get("conditions") or []
    )
