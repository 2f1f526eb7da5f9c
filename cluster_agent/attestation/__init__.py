"""Attestation: finds the pod that a token is bound to.

There are two attestors. `token-review` asks the API server, which also notices that the pod is gone. `jwks`
checks the token's signature offline, and learns of a deleted pod only when the token expires.

Token format: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from blessings import InvalidName, Name
from cluster_agent.errors import BadRequest, Forbidden
from cluster_agent.fair_queue import Tenant


@dataclass(frozen=True)
class AttestedPod:
    """The pod that a valid token for our audience is bound to. `token_ends` is None where the token states
    no end that can be read."""

    namespace: str
    service_account: str
    name: str
    uid: str
    token_ends: datetime | None = None


class Attestor(Protocol):
    """Finds the pod that a token proves."""

    @property
    def kind(self) -> str:
        """`token-review` or `jwks`: shown in the log and in /healthz."""

    @property
    def waiting(self) -> int:
        """How many tokens wait because the API server or the key set is slow; for the metrics."""

    async def attest(self, token: str, tenant: Tenant) -> AttestedPod:
        """`tenant` is who has the token reviewed. Raises TokenRefused when the token proves no pod,
        Unavailable when that cannot be checked now, TooManyRequests when too many wait."""


class TokenRefused(Forbidden):
    """The token proves no pod that we accept."""


class TokenOutOfTime(TokenRefused):
    """The token has expired or is not valid yet: a clock is wrong or a file was read late, which is no theft
    and trips no wire."""


def expired() -> TokenOutOfTime:
    return TokenOutOfTime("TokenExpired", "the token has expired; read it again from its file")


def not_yet_valid() -> TokenOutOfTime:
    return TokenOutOfTime("TokenNotYetValid", "the token is not valid yet; are the clocks right?")


def end_of(claims: Mapping[str, Any]) -> datetime | None:
    """The `exp` of a token's claims; None when it is no time."""
    try:
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def attested_pod(
    username: str, pod_name: object, pod_uid: object, *, namespace: str | None = None
) -> AttestedPod:
    """The pod behind a token's claims. Raises TokenRefused for a user, a node, or a token without a pod, and
    BadRequest for a pod that can have no blessing."""
    parts = username.split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"] or not all(parts):
        raise TokenRefused(
            "NotAServiceAccount", f"the token belongs to {username!r}, not to a service account"
        )
    if namespace is not None and namespace != parts[2]:
        raise TokenRefused(
            "InconsistentToken", f"the token's subject has namespace {parts[2]!r}, its claims {namespace!r}"
        )
    if not (isinstance(pod_name, str) and pod_name and isinstance(pod_uid, str) and pod_uid):
        raise TokenRefused(
            "TokenNotBoundToPod",
            f"the token of {username} is bound to no pod; use a projected serviceAccountToken volume",
        )
    try:
        Name(("x", pod_name))
    except InvalidName as error:
        raise BadRequest("InvalidPodName", f"the token's pod can have no blessing: {error}") from error
    return AttestedPod(namespace=parts[2], service_account=parts[3], name=pod_name, uid=pod_uid)
