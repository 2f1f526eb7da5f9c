"""Why the cluster agent says no. Every refusal carries the reason that the caller and the metrics see.

ClusterAgentError
├── SettingsError           a setting is wrong; the program stops
├── DataDirectoryError      keys or store on disk cannot be used
└── Refusal                 the call gets an error answer
    ├── BadRequest          400  the body, the CSR
    ├── NotAuthenticated    401  no client certificate, or one that proves no name
    ├── Forbidden           403  proven, but not allowed this
    └── Unavailable         503  somebody that we depend on does not answer; try again
"""

from __future__ import annotations

from typing import ClassVar


class ClusterAgentError(Exception):
    """Root of every error that this package raises on purpose."""


class SettingsError(ClusterAgentError):
    """A setting is missing or wrong."""


class DataDirectoryError(ClusterAgentError):
    """The data directory's keys or store cannot be used as they are."""


class Refusal(ClusterAgentError):
    """An answer that is no: `reason` in one word, the message in a sentence, `status` for HTTP."""

    status: ClassVar[int]

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadRequest(Refusal):
    status = 400


class NotAuthenticated(Refusal):
    status = 401


class Forbidden(Refusal):
    status = 403


class Unavailable(Refusal):
    status = 503
    retry_after_seconds: ClassVar[int] = 2
