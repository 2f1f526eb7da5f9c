"""The AdmissionReview on the wire: reads requests and writes answers.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pybase64

from webhook.errors import BadRequestError, RefusalError
from webhook.patch import Encoded, encoded, encoded_string
from webhook.rawjson import JSONObject, WrongTypeError, as_object, flag_at, object_at, string_at
from webhook.reasons import AdmissionReason

_GROUP = "admission.k8s.io/"
_VERSIONS = frozenset({"admission.k8s.io/v1", "admission.k8s.io/v1beta1"})
# The API server cuts off longer warnings.
# https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response
_LONGEST_WARNING = 256
_FORBIDDEN = 403
_LONGEST_UID = 253


class AdmissionRequest(NamedTuple):
    """The request in a review. `name` may be empty: the API server makes one from `generateName` later."""

    api_version: str
    uid: str
    operation: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    dry_run: bool
    object: JSONObject | None
    old: JSONObject | None = None
    """The object before an update."""

    @property
    def adds_ephemeral_containers(self) -> bool:
        """Whether it is one of `kubectl debug`."""
        what = (self.operation, self.group, self.resource, self.subresource)
        return what == ("UPDATE", "", "pods", "ephemeralcontainers")


def read_request(document: object) -> AdmissionRequest:
    """The request of an AdmissionReview in version v1 or v1beta1, which have the same fields.

    Raises:
        BadRequestError: it is not an AdmissionReview, or has no uid that an answer could be sent to.
    """
    try:
        return _read(as_object(document, "the body"))
    except WrongTypeError as error:
        raise BadRequestError(
            400, AdmissionReason.MALFORMED_REVIEW, f"not an AdmissionReview: {error}"
        ) from error


def _read(document: JSONObject) -> AdmissionRequest:
    api_version, kind = string_at(document, "apiVersion", ""), string_at(document, "kind", "")
    if kind != "AdmissionReview" or not api_version.startswith(_GROUP):
        raise WrongTypeError(f"expected kind AdmissionReview of the group {_GROUP[:-1]}")
    request = object_at(document, "request", "")
    uid = string_at(request, "uid", "request")
    if not uid or len(uid) > _LONGEST_UID:
        raise WrongTypeError(f"request.uid is {'too long' if uid else 'missing'}")
    resource = object_at(request, "resource", "request")
    raw, old = request.get("object"), request.get("oldObject")
    return AdmissionRequest(
        api_version=api_version,
        uid=uid,
        operation=string_at(request, "operation", "request"),
        group=string_at(resource, "group", "request.resource"),
        resource=string_at(resource, "resource", "request.resource"),
        subresource=string_at(request, "subResource", "request"),
        namespace=string_at(request, "namespace", "request"),
        name=string_at(request, "name", "request"),
        dry_run=flag_at(request, "dryRun", "request"),
        object=None if raw is None else as_object(raw, "request.object"),
        old=None if old is None else as_object(old, "request.oldObject"),
    )


def refuse_unknown_version(request: AdmissionRequest) -> None:
    """Raises RefusalError when we do not know the meaning of the review's version."""
    if request.api_version not in _VERSIONS:
        raise RefusalError(
            AdmissionReason.UNSUPPORTED_REVIEW_VERSION,
            f"review of version {request.api_version[:80]}: expected one of {', '.join(sorted(_VERSIONS))}",
        )


def allowed(
    request: AdmissionRequest,
    reason: AdmissionReason,
    patch: Encoded | None = None,
    warnings: Sequence[str] = (),
    *,
    delivery: str = "",
) -> bytes:
    """A review that admits the request, changed by `patch`; `delivery` is for the audit log."""
    more = ""
    if warnings:
        more = f',"warnings":{encoded([warning[:_LONGEST_WARNING] for warning in warnings])}'
    # Both or neither: an API server refuses an answer with only one of the two, or with an empty patch.
    if patch is not None:
        text = pybase64.b64encode_as_string(patch.encode("ascii"))
        more += f',"patchType":"JSONPatch","patch":"{text}"'
    return _answer(
        request, "true", reason, more, f',"delivery":{encoded_string(delivery)}' if delivery else ""
    )


def refused(request: AdmissionRequest, refusal: RefusalError) -> bytes:
    """A review that refuses the request; the API server shows the message to the client that sent it."""
    status = {
        "status": "Failure",
        "code": _FORBIDDEN,
        "reason": refusal.reason.value,
        "message": str(refusal),
    }
    return _answer(request, "false", refusal.reason, f',"status":{encoded(status)}')


def _answer(
    request: AdmissionRequest,
    is_allowed: Encoded,
    reason: AdmissionReason,
    more: Encoded,
    more_annotations: Encoded = "",
) -> bytes:
    # The API server writes auditAnnotations to its audit log, under the webhook's name. Nothing else records,
    # for later, why a Pod was left as it is.
    return (
        f'{{"apiVersion":{encoded_string(request.api_version)},"kind":"AdmissionReview","response":'
        f'{{"uid":{encoded_string(request.uid)},"allowed":{is_allowed},'
        f'"auditAnnotations":{{"reason":"{reason.value}"{more_annotations}}}{more}}}}}'
    ).encode("ascii")
