"""Every error of the cluster agent, as a tree. Each refusal has the reason that clients and metrics get.

ClusterAgentError
├── DataDirectoryError      keys on disk cannot be used
├── StoreError              the store cannot be used, or belongs to another cluster agent
└── Refusal                 the call gets an error answer
    ├── BadRequest          400  the body or the CSR is wrong
    │   └── KeyReused
    ├── NotAuthenticated    401  no client certificate, or one that proves no name
    ├── NotServed           404  there is no such path or method
    ├── NotFound            404  the call names something that this agent does not know
    ├── Forbidden           403  the name is proven, but may not do this
    │   ├── SecretForgotten
    │   └── ReplicaRevoked
    ├── Conflict            409  the current state does not allow it; a second try does not help
    ├── BodyTooLarge        413  the body is longer than we accept
    ├── UnsupportedMediaType 415 the body is not declared to be JSON
    ├── TooManyRequests     429  more than we accept at once, or from one client; try again
    │   ├── TooManyCertificates
    │   └── PodBusy
    └── Unavailable         503  a service that we depend on does not answer; try again
"""

from __future__ import annotations

from datetime import timedelta
from math import ceil
from typing import ClassVar, Literal

# Recording takes milliseconds. When another replica hangs, the database ends its session after 10 s.
BUSY_SECONDS = 2
# Every limit that can be exceeded; also the metric's only label values.
Limit = Literal[
    "rate-replica",
    "rate-application",
    "rate-address",
    "rate-administrator",
    "token-reviews",
    "store-queue",
    "live-certificates",
    "pod-busy",
    "readers",
    "connections",
    "connections-from-address",
    "connections-nameless",
]


class ClusterAgentError(Exception):
    """Root of every error that this package raises on purpose."""


class DataDirectoryError(ClusterAgentError):
    """The directory's keys or certificates cannot be used as they are."""


class StoreError(ClusterAgentError):
    """The store cannot be used as it is."""


class Refusal(ClusterAgentError):
    """A refused call: `reason` in one word, the message in a sentence, `status` for HTTP."""

    status: ClassVar[int]

    def __init__(self, reason: str, message: str, *, retry_after_seconds: int | None = None) -> None:
        """`retry_after_seconds` is the time after which a new try makes sense, if there is one."""
        super().__init__(message)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class BadRequest(Refusal):
    status = 400


class KeyReused(BadRequest):
    """Renewals come with a new key each time."""

    def __init__(self, message: str = "this key was certified before; make a new one") -> None:
        super().__init__("KeyReused", message)


class NotServed(Refusal):
    status = 404


class NotFound(Refusal):
    status = 404


class NotAuthenticated(Refusal):
    status = 401


class Forbidden(Refusal):
    status = 403


class SecretForgotten(Forbidden):
    def __init__(self, secret_id: str) -> None:
        super().__init__(
            "SecretForgotten", f"secret {secret_id} was forgotten; nothing more is issued for it"
        )


class ReplicaRevoked(Forbidden):
    def __init__(self, pod_name: str, pod_uid: str) -> None:
        super().__init__(
            "Revoked", f"pod {pod_name!r} (uid {pod_uid}) was revoked; nothing more is issued to it"
        )


class Conflict(Refusal):
    status = 409


class BodyTooLarge(Refusal):
    status = 413


class UnsupportedMediaType(Refusal):
    status = 415


class TooManyRequests(Refusal):
    status = 429

    def __init__(self, reason: str, message: str, *, limit: Limit, retry_after_seconds: int = 1) -> None:
        super().__init__(reason, message, retry_after_seconds=retry_after_seconds)
        self.limit = limit


class TooManyCertificates(TooManyRequests):
    """The pod has as many valid certificates as it may; `wait` is the time until the first of them ends."""

    def __init__(self, pod_name: str, pod_uid: str, wait: timedelta) -> None:
        super().__init__(
            "TooManyCertificates",
            f"pod {pod_name!r} (uid {pod_uid}) has too many certificates that have not ended; does it start "
            "again and again?",
            limit="live-certificates",
            retry_after_seconds=max(1, ceil(wait.total_seconds())),
        )


class PodBusy(TooManyRequests):
    """Another replica of the agent is recording a certificate of the same pod."""

    def __init__(self, pod_name: str, pod_uid: str) -> None:
        super().__init__(
            "PodBusy",
            f"another cluster agent is recording a certificate of pod {pod_name!r} (uid {pod_uid}); "
            "try again",
            limit="pod-busy",
            retry_after_seconds=BUSY_SECONDS,
        )


class Unavailable(Refusal):
    status = 503

    def __init__(self, reason: str, message: str, *, retry_after_seconds: int = 2) -> None:
        super().__init__(reason, message, retry_after_seconds=retry_after_seconds)
