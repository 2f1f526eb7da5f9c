"""The decision about one admission review. Pure: there is no HTTP here.

review (read) → policy (whether this Pod gets an identity) → injection (the patch) → review (written)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from webhook import ephemeral, review
from webhook.errors import LONGEST_MESSAGE, RefusalError
from webhook.injection import inject_pod
from webhook.namespace_defaults import Defaults
from webhook.pod import Pod
from webhook.policy import CLUSTER_NAMESPACES, Skip, skip_pod, skip_request
from webhook.rawjson import JSONObject, WrongTypeError
from webhook.reasons import AdmissionReason
from webhook.review import AdmissionRequest
from webhook.sidecar import Configuration
from webhook.volume_support import NOT_LOOKED, VolumeSupport


class Admission(NamedTuple):
    """An answered review, with the values for the log and the metrics."""

    request: AdmissionRequest
    body: bytes
    allowed: bool
    reason: AdmissionReason
    message: str
    generate_name: str
    operations: int
    warns: bool = False
    """Whether a Pod that is left as it is looks as if it could have an identity."""

    @property
    def answer(self) -> JSONObject:
        """The answer, decoded."""
        answer: JSONObject = json.loads(self.body)
        return answer


def admit(
    document: object,
    defaults: Configuration | Callable[[str], Defaults],
    excluded_namespaces: frozenset[str] = CLUSTER_NAMESPACES,
    support: VolumeSupport = NOT_LOOKED,
) -> Admission:
    """The answer to the AdmissionReview `document`. `defaults` are those of every namespace, or a function
    from a namespace's name to its own.

    A dry run is answered like any other request, because the answer is the only effect.

    Raises:
        BadRequestError: `document` is not a review that could be answered.
    """
    request = review.read_request(document)
    try:
        return _admit(request, defaults, excluded_namespaces, support)
    except RefusalError as refusal:
        body = review.refused(request, refusal)
        return Admission(request, body, False, refusal.reason, str(refusal), _generate_name(request), 0)


def _admit(
    request: AdmissionRequest,
    defaults: Configuration | Callable[[str], Defaults],
    excluded_namespaces: frozenset[str],
    support: VolumeSupport,
) -> Admission:
    review.refuse_unknown_version(request)
    skip = skip_request(request, excluded_namespaces)
    if skip is not None:
        return _skipped(request, skip)
    if request.object is None:
        raise RefusalError(
            AdmissionReason.MALFORMED_POD, "request.object is missing: the review has to contain the Pod"
        )
    own = Defaults(defaults, {}) if isinstance(defaults, Configuration) else defaults(request.namespace)
    pod = Pod(request.object, own.annotations)
    if request.adds_ephemeral_containers:
        return _debugging(request, pod, own.configuration.user)
    try:
        skip = skip_pod(pod)
    except WrongTypeError as error:
        raise RefusalError(AdmissionReason.MALFORMED_POD, f"the Pod is malformed: {error}") from error
    if skip is not None:
        return _skipped(request, skip)
    own.check()
    injection = inject_pod(pod, own.configuration, support)
    body = review.allowed(
        request, injection.reason, injection.patch, injection.warnings, delivery=injection.delivery
    )
    operations, message = injection.encoded.number, injection.delivery
    return Admission(request, body, True, injection.reason, message, _generate_name(request), operations)


def _debugging(request: AdmissionRequest, pod: Pod, user: int | None) -> Admission:
    try:
        found = ephemeral.additions(pod, request.old or {}, user)
    except WrongTypeError as error:
        raise RefusalError(AdmissionReason.MALFORMED_POD, f"the Pod is malformed: {error}") from error
    if found is None:
        return _skipped(request, Skip(AdmissionReason.SUBRESOURCE, "the Pod has no pod agent"))
    (text, number), warnings = found
    reason = AdmissionReason.SOCKET_ADDED if number else AdmissionReason.ALREADY_INJECTED
    body = review.allowed(request, reason, f"[{text}]" if number else None, warnings)
    return Admission(request, body, True, reason, "", "", number)


def _skipped(request: AdmissionRequest, skip: Skip) -> Admission:
    warnings = [f"no identity: {skip.message}"] if skip.warning else []
    body = review.allowed(request, skip.reason, None, warnings)
    message = skip.message[:LONGEST_MESSAGE]
    return Admission(request, body, True, skip.reason, message, _generate_name(request), 0, skip.warning)


def _generate_name(request: AdmissionRequest) -> str:
    """The generateName, for the log only. A malformed one was refused already, and counts as none."""
    metadata = (request.object or {}).get("metadata")
    name = metadata.get("generateName") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""
