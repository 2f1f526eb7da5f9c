"""What can go wrong in the pod agent.

PodAgentError
├── SettingsError       a setting is wrong; the program stops
└── SeekError           no blessing this time; the keeper tries again
    ├── Refused         the cluster agent said no, with its reason
    ├── Unreachable     it did not answer, or asked to wait
    ├── NotMounted      the credential or the token is not there, or cannot be read
    └── Untrustworthy   what it answered is not what we asked for
"""

from __future__ import annotations

from typing import ClassVar


class PodAgentError(Exception):
    """Root of every error that this package raises on purpose."""


class SettingsError(PodAgentError):
    """A setting is missing or wrong; the message names it."""


class SeekError(PodAgentError):
    """SeekBlessings brought nothing. `reason` is one word, for the metric."""

    # What a renewal may meet that a new start with the bootstrap credential can mend. The last is all
    # that a client learns when TLS 1.3 does not accept its certificate: the alert is often lost.
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
        """Whether the bootstrap credential may be let in where the replica certificate was not."""
        return self.reason in self._START_OVER


class Refused(SeekError):
    """The cluster agent refused."""


class Unreachable(SeekError):
    """The cluster agent gave no usable answer."""


class NotMounted(SeekError):
    """The bootstrap credential or the token cannot be read."""


class Untrustworthy(SeekError):
    """The answer is not for our key, not for our name, or does not hold."""
