"""The attestor that asks the API server by TokenReview.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from blessings.jwt.encoding import from_base64url, json_object
from cluster_agent.attestation import (
    AttestedPod,
    TokenOutOfTime,
    TokenRefused,
    attested_pod,
    end_of,
    expired,
    not_yet_valid,
)
from cluster_agent.errors import Unavailable
from cluster_agent.kubernetes.api import ApiCallError, KubernetesApi

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"


class TokenReviewAttestor:
    """Accepts the tokens that TokenReview accepts for `audience`."""

    kind = "token-review"

    def __init__(self, api: KubernetesApi, audience: str) -> None:
        self._api = api
        self._audience = audience

    async def attest(self, token: str) -> AttestedPod:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            answer = await self._api.create(_PATH, review)
        except ApiCallError as error:
            raise Unavailable(
                "TokenReviewUnavailable", f"the API server did not review the token: {error}"
            ) from error
        found = pod_of_review(answer.get("status") or {}, self._audience)
        return replace(found, token_ends=_stated_end(token))


def pod_of_review(status: Mapping[str, Any], audience: str) -> AttestedPod:
    """The pod that a TokenReview's status proves, for `audience`. Raises TokenRefused."""
    if status.get("authenticated") is not True:
        untimely = _out_of_time(str(status.get("error")))
        if untimely is not None:
            raise untimely
        raise TokenRefused(
            "TokenNotAuthenticated",
            f"the API server refused the token: {status.get('error') or 'not authenticated'}",
        )
    # An API server without audiences leaves the field empty; it then has not checked ours.
    if audience not in (status.get("audiences") or []):
        raise TokenRefused("TokenOfOtherAudience", f"the token is not meant for {audience!r}")
    user = status.get("user") or {}
    extra = user.get("extra") or {}
    return attested_pod(str(user.get("username", "")), _only(extra, _POD_NAME), _only(extra, _POD_UID))


def _stated_end(token: str) -> datetime | None:
    """The end in the claims of a token that the API server has accepted: its answer does not state it."""
    try:
        return end_of(json_object(from_base64url(token.split(".")[1])))
    except (ValueError, IndexError):
        return None


def _out_of_time(error: str) -> TokenOutOfTime | None:
    """The refusal of a token of the API server's own that came too late or too early. Only the error's text
    states it (pkg/serviceaccount/claims.go of Kubernetes); another text is a token that proves nothing."""
    if "service account token has expired" in error:
        return expired()
    return not_yet_valid() if "service account token is not valid yet" in error else None


def _only(extra: Mapping[str, Any], key: str) -> str | None:
    values = extra.get(key)
    return str(values[0]) if isinstance(values, list) and len(values) == 1 else None
