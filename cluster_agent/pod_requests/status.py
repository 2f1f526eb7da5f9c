"""The status of a PodCertificateRequest, which is set once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from blessings import Blessing
from blessings.encoding.times import rfc3339
from cluster_agent.errors import Refusal, Unavailable
from cluster_agent.pod_requests.checks import SHORTEST_LIFE

Status = Mapping[str, Any]
# The API server wants beginRefreshAt that far from both ends of the certificate's life.
_FROM_ENDS = timedelta(minutes=10)
# It accepts a notBefore at most five minutes from its own time.
_ACCEPTED = timedelta(minutes=4)
_LONGEST_MESSAGE = 1000


def issued(blessing: Blessing, refresh_at: datetime, now: datetime) -> str:
    """The status with that chain, as JSON. Raises Unavailable for a certificate that ends too soon for the
    API server, because its issuer does."""
    begin, end = blessing.leaf.not_valid_before_utc, blessing.leaf.not_valid_after_utc
    if end - begin < SHORTEST_LIFE:
        raise Unavailable(
            "IssuerEnding",
            f"the issuer's certificate allows a life until {end.isoformat()} only, and Kubernetes accepts "
            "none shorter than an hour; it is signed when the issuer's was renewed",
        )
    refresh_at = min(max(refresh_at, begin + _FROM_ENDS), end - _FROM_ENDS)
    return json.dumps(
        {
            "conditions": [_condition("Issued", "Issued", f"{blessing.presented}", now)],
            "certificateChain": blessing.to_pem(),
            "notBefore": rfc3339(begin),
            "notAfter": rfc3339(end),
            "beginRefreshAt": rfc3339(refresh_at),
        }
    )


def denied(refusal: Refusal, now: datetime) -> Status:
    """The status for a request that is never signed. The kubelet asks no second time for this Pod."""
    return {"conditions": [_condition("Denied", refusal.reason, str(refusal), now)]}


def is_outdated(status: Status, now: datetime) -> bool:
    """Whether the API server no longer accepts this status: its certificate was made too long ago."""
    return now >= datetime.fromisoformat(str(status["notBefore"])) + _ACCEPTED


def _condition(kind: str, reason: str, message: str, now: datetime) -> dict[str, str]:
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "lastTransitionTime": rfc3339(now),
    }
