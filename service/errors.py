"""What can go wrong in what the programs share.

ServiceError
├── SettingsError             a setting is missing or wrong; the program stops
├── UnreadableFile            a mounted file is missing, too large, or cannot be read
└── ServingCertificateError   there is no certificate and key to serve with
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
