"""The decision about one admission review. Pure: there is no HTTP here.

review (read) → policy (whether this Pod gets an identity) → injection (the patch) → review (written)
"""

from __future__ import annotations

from dataclasses import dataclass

from webhook import review
from webhook.errors import RefusalError
from webhook.injection import inject
from webhook.pod import Pod
from webhook.policy import CLUSTER_NAMESPACES, Skip, skip_pod, skip_request
from webhook.rawjson import JSONObject, WrongTypeError
from webhook.reasons import AdmissionReason
from webhook.review import AdmissionRequest
from webhook.sidecar import Configuration


@dataclass(frozen=True)
class Admission:
    """An answered review, with the values for the log and the metrics."""

    request: AdmissionRequest
    answer: JSONObject
    reason: AdmissionReason
    message: str
    generate_name: str
    operations: int

    @property
    def allowed(self) -> bool:
        return bool(self.answer["response"]["allowed"])


def admit(
    document: object,
    configuration: Configuration,
    excluded_namespaces: frozenset[str] = CLUSTER_NAMESPACES,
) -> Admission:
    """The answer to the AdmissionReview `document`.

    A dry run is answered like any other request, because the answer is the only effect.

    Raises:
        BadRequestError: `document` is not a review that could be answered.
    """
    request = review.read_request(document)
    try:
        return _admit(request, configuration, excluded_namespaces)
    except RefusalError as refusal:
        return _described(request, review.refused(request, refusal), refusal.reason, str(refusal))


def _admit(
    request: AdmissionRequest, configuration: Configuration, excluded_namespaces: frozenset[str]
) -> Admission:
    review.refuse_unknown_version(request)
    skip = skip_request(request, excluded_namespaces)
    if skip is not None:
        return _skipped(request, skip)
    if request.object is None:
        raise RefusalError(
            AdmissionReason.MALFORMED_POD, "request.object is missing: a CREATE review has to hold the Pod"
        )
    try:
        skip = skip_pod(Pod(request.object))
    except WrongTypeError as error:
        raise RefusalError(AdmissionReason.MALFORMED_POD, f"the Pod is malformed: {error}") from error
    if skip is not None:
        return _skipped(request, skip)
    injection = inject(request.object, configuration)
    answer = review.allowed(request, injection.reason, injection.operations, injection.warnings)
    return _described(request, answer, injection.reason, "", len(injection.operations))


def _skipped(request: AdmissionRequest, skip: Skip) -> Admission:
    warnings = [f"no identity: {skip.message}"] if skip.warning else []
    return _described(request, review.allowed(request, skip.reason, (), warnings), skip.reason, skip.message)


def _described(
    request: AdmissionRequest, answer: JSONObject, reason: AdmissionReason, message: str, operations: int = 0
) -> Admission:
    return Admission(
        request=request,
        answer=answer,
        reason=reason,
        message=message,
        generate_name=_generate_name(request),
        operations=operations,
    )


def _generate_name(request: AdmissionRequest) -> str:
    """The generateName, for the log only. A malformed one was refused already, and counts as none."""
    match request.object:
        case {"metadata": {"generateName": str(name)}}:
            return name
        case _:
            return ""
