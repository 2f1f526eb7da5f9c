"""Every error of the pod agent, as a tree.

PodAgentError
├── SeekError           no blessing this time; the keeper tries again
│   ├── Refused         the cluster agent refused, with its reason
│   ├── Unreachable     the cluster agent did not answer, or asked to wait
│   ├── NotMounted      the credential or the token is missing, or cannot be read
│   ├── Untrustworthy   the cluster agent's answer does not match the request
│   └── ClocksDiffer    a certificate is not valid by this node's clock
├── HttpError           an HTTP request gets this answer
└── GrpcError           a gRPC call ends with this status
    └── MalformedMessage   a client's protobuf message cannot be read
"""

from __future__ import annotations

from typing import ClassVar

from pod_agent.grpc.status import Status


class PodAgentError(Exception):
    """Root of every error that this package raises on purpose."""


class SeekError(PodAgentError):
    """SeekBlessings failed. `reason` is one word, for the metric."""

    # Failures of a renewal that starting again with the bootstrap credential can repair. The last one is all
    # that a TLS 1.3 client learns when its certificate is not accepted: the alert is often lost.
    _START_OVER: ClassVar[frozenset[str]] = frozenset(
        {
            "NotAReplica",
            "UnknownSecret",
            "SecretForgotten",
            "ClientCertificateInvalid",
            "ConnectionEnded",
        }
    )

    def __init__(self, reason: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds

    @property
    def start_over(self) -> bool:
        """Whether the bootstrap credential may be accepted where the replica certificate was not."""
        return self.reason in self._START_OVER


class Refused(SeekError):
    """The cluster agent refused."""


class Unreachable(SeekError):
    """The cluster agent gave no usable answer."""


class NotMounted(SeekError):
    """The bootstrap credential or the token cannot be read."""


class Untrustworthy(SeekError):
    """The answer is for another key or name, or cannot be verified."""


class ClocksDiffer(SeekError):
    """A certificate is not valid by this node's clock."""


class HttpError(PodAgentError):
    """An HTTP request is answered with `status`, one word as the reason, and the message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class GrpcError(PodAgentError):
    """A gRPC call ends with `status`; its client is shown the message."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class MalformedMessage(GrpcError):
    """A client's protobuf message cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(Status.INVALID_ARGUMENT, f"the message cannot be read: {message}")
