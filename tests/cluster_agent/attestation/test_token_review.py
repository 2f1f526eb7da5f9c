"""What an answered TokenReview proves, as a pure function; the end-to-end tests ask a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_agent.attestation import AttestedPod, TokenRefused
from cluster_agent.attestation.token_review import pod_of_review

POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"

# Kubernetes, pkg/serviceaccount/claims.go
EXPIRED = "service account token has expired"
EARLY = "service account token is not valid yet"


def status(**changes: Any) -> dict[str, Any]:
    return {
        "authenticated": True,
        "audiences": ["vanadium-cluster-agent"],
        "user": {
            "username": "system:serviceaccount:shop:web",
            "extra": {POD_NAME: ["web-1"], POD_UID: ["uid-1"]},
        },
        **changes,
    }


def test_a_pod_bound_token_proves_its_pod() -> None:
    assert pod_of_review(status(), "vanadium-cluster-agent") == AttestedPod("shop", "web", "web-1", "uid-1")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"authenticated": False, "error": "expired"}, "TokenNotAuthenticated"),
        ({"error": f"[invalid bearer token, {EXPIRED}]", "authenticated": False}, "TokenExpired"),
        ({"error": f"[invalid bearer token, {EARLY}]", "authenticated": False}, "TokenNotYetValid"),
        ({"authenticated": "true"}, "TokenNotAuthenticated"),
        ({"audiences": []}, "TokenOfOtherAudience"),
        ({"audiences": None}, "TokenOfOtherAudience"),
        ({"audiences": ["https://kubernetes.default.svc"]}, "TokenOfOtherAudience"),
        ({"user": {"username": "admin", "extra": {POD_NAME: ["a"], POD_UID: ["b"]}}}, "NotAServiceAccount"),
        ({"user": {"username": "system:node:n", "extra": {}}}, "NotAServiceAccount"),
        ({"user": {"username": "system:serviceaccount:shop:web:x", "extra": {}}}, "NotAServiceAccount"),
        ({"user": {"username": "system:serviceaccount:shop:web"}}, "TokenNotBoundToPod"),
        (
            {"user": {"username": "system:serviceaccount:shop:web", "extra": {POD_NAME: ["web-1"]}}},
            "TokenNotBoundToPod",
        ),
        (
            {
                "user": {
                    "username": "system:serviceaccount:shop:web",
                    "extra": {POD_NAME: ["web-1", "web-2"], POD_UID: ["uid-1"]},
                }
            },
            "TokenNotBoundToPod",
        ),
    ],
)
def test_anything_less_proves_nothing(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenRefused) as caught:
        pod_of_review(status(**changes), "vanadium-cluster-agent")
    assert caught.value.reason == reason
