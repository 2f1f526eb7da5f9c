"""What can go wrong with names, certificates and verification.

BlessingsError
├── InvalidName          a name or component that breaks the rules
├── InvalidPattern       a pattern that is neither a name, a name and `$`, nor `...`
├── InvalidCertificate   bytes that are no certificate chain, or one outside of the profile
├── InvalidKey           a key of a kind or size that is not accepted
├── CannotBless          an authority that may not sign what it was asked to
└── VerificationError    a chain that proves no name; carries the Reason
"""

from __future__ import annotations

from enum import StrEnum


class BlessingsError(Exception):
    """Root of every error that this package raises on purpose."""


class InvalidName(BlessingsError, ValueError):
    """A blessing name or SPIFFE ID does not follow the grammar."""


class InvalidPattern(BlessingsError, ValueError):
    """A blessing pattern does not follow the grammar."""


class InvalidCertificate(BlessingsError, ValueError):
    """Bytes that hold no usable certificate, or a certificate outside of the profile."""


class InvalidKey(BlessingsError, ValueError):
    """A key of a kind, curve or encoding that is not accepted."""


class CannotBless(BlessingsError):
    """An authority was asked for a certificate that it may not make."""


class Reason(StrEnum):
    """Why a chain proves no name. The values are stable: they appear in answers and metrics."""

    EMPTY_CHAIN = "EmptyChain"
    CHAIN_TOO_LONG = "ChainTooLong"
    MALFORMED = "Malformed"
    WEAK_KEY = "WeakKey"
    UNKNOWN_CRITICAL_EXTENSION = "UnknownCriticalExtension"
    BAD_SIGNATURE = "BadSignature"
    NOT_YET_VALID = "NotYetValid"
    EXPIRED = "Expired"
    NOT_AN_AUTHORITY = "NotAnAuthority"
    NOT_A_LEAF = "NotALeaf"
    PATH_TOO_LONG = "PathTooLong"
    NAME_NOT_EXTENDED = "NameNotExtended"
    UNRECOGNISED_ROOT = "UnrecognisedRoot"
    ROOT_NOT_TRUSTED_FOR_NAME = "RootNotTrustedForName"


class VerificationError(BlessingsError):
    """A chain proves no name; `reason` says why in one word, the message in a sentence."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
