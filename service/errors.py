"""Every error of the shared code, as a tree.

ServiceError
├── SettingsError             a setting is missing or wrong; the program stops
├── UnreadableFile            a mounted file is missing, too large, or cannot be read
├── ServingCertificateError   there is no certificate and key to serve with
└── CallError                 a call of the cluster agent failed
    ├── CallRefused           the cluster agent refused, with its reason
    ├── CallUnanswered        there was no answer, or one that asks to wait
    └── UnusableAnswer        the answer is too long, or is not a JSON object
"""

from __future__ import annotations


class ServiceError(Exception):
    """Root of every error that this package raises on purpose."""


class SettingsError(ServiceError):
    """A setting is missing or has a value that cannot be used; the message names it."""


class UnreadableFile(ServiceError):
    """A file cannot be read. `reason` is one word: FileMissing, FileTooLarge or FileUnreadable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServingCertificateError(ServiceError):
    """The certificate or key to serve with cannot be used; the one in use stays."""


class CallError(ServiceError):
    """A call of the cluster agent failed.

    Attributes:
        reason: one word, from the cluster agent or from us.
        said: the cluster agent's own sentence, without the call; empty when there was no answer.
    """

    def __init__(
        self, reason: str, message: str, retry_after_seconds: float | None = None, said: str = ""
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.said = said
        self.retry_after_seconds = retry_after_seconds


class CallRefused(CallError):
    """The cluster agent refused."""


class CallUnanswered(CallError):
    """There was no answer, or one that asks to wait."""

    @property
    def is_away(self) -> bool:
        """Whether nothing answered: a further call would probably wait as long."""
        return self.reason in ("Unreachable", "ConnectionEnded")


class UnusableAnswer(CallError):
    """The answer is too long, or is not a JSON object."""
