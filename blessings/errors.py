"""Every error that this package raises, as a tree.

BlessingsError
├── InvalidName          a name or component that breaks the rules
├── InvalidPattern       a pattern that is neither a name, a name and `$`, nor `...`
├── InvalidAccessList    an access list or permissions file that is not in the expected format
├── InvalidCertificate   bytes that are no certificate chain, or one outside of the profile
│   └── UnacceptableKey  a certificate whose key is of a kind or size that is not accepted
├── InvalidCaveat        a caveat, discharge or caveats extension that is not in the expected format
├── InvalidBundle        a trust bundle that is not in SPIFFE's format, or holds a key that is not accepted
├── InvalidKey           a key of a kind or size that is not accepted
├── InvalidJwt           a JWT-SVID that proves nothing; the message states which check failed
├── InvalidStore         a principal's directory that is damaged, or open to others
├── CannotBless          an authority or principal that may not sign what it was asked to
├── ReadOnly             a principal that can be used but not changed
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


class InvalidAccessList(BlessingsError, ValueError):
    """An access list or permissions file is not in the expected format."""


class InvalidCertificate(BlessingsError, ValueError):
    """Bytes that contain no usable certificate, or a certificate outside of the profile.

    `certificate` is its place in the chain, 0 for the leaf. `field` is the RFC 5280 name of the field that is
    wrong. Each is None where it does not apply. The message contains both.
    """

    def __init__(self, message: str, *, field: str | None = None, certificate: int | None = None) -> None:
        self.problem = message
        self.field = field
        self.certificate = certificate
        super().__init__(located(message, field, certificate))

    def at(self, certificate: int) -> InvalidCertificate:
        """This error, with `certificate` as the place in the chain."""
        return type(self)(self.problem, field=self.field, certificate=certificate)


class UnacceptableKey(InvalidCertificate):
    """A certificate of a chain holds a key of a kind or size that is not accepted."""


class InvalidCaveat(BlessingsError, ValueError):
    """A caveat, a discharge or a caveats extension is not in the expected format."""


class InvalidBundle(BlessingsError, ValueError):
    """A trust bundle is not in SPIFFE's format, or contains something that is not accepted."""


class InvalidRevocationList(BlessingsError, ValueError):
    """A certificate revocation list is outside of the profile, or contains something that is not accepted."""


class InvalidKey(BlessingsError, ValueError):
    """A key of a kind, curve or encoding that is not accepted."""


class InvalidJwt(BlessingsError, ValueError):
    """A token that is no valid JWT-SVID for this audience, now. The message contains nothing of the token."""


class InvalidStore(BlessingsError):
    """A principal's directory is damaged, or readable by others."""


class CannotBless(BlessingsError):
    """An authority or principal was asked for a certificate that it may not make."""


class ReadOnly(BlessingsError):
    """A principal was asked to change, but can only be used."""


class Reason(StrEnum):
    """Why a chain proves no name. The values are stable: they appear in answers and metrics."""

    CHAIN_TOO_LONG = "ChainTooLong"
    CYCLIC = "Cyclic"
    OUT_OF_ORDER = "OutOfOrder"
    MALFORMED = "Malformed"
    WEAK_KEY = "WeakKey"
    KEY_NOT_ACCEPTED = "KeyNotAccepted"
    UNKNOWN_CRITICAL_EXTENSION = "UnknownCriticalExtension"
    ISSUER_MISMATCH = "IssuerMismatch"
    BAD_SIGNATURE = "BadSignature"
    NOT_YET_VALID = "NotYetValid"
    EXPIRED = "Expired"
    TIMES_DO_NOT_NEST = "TimesDoNotNest"
    NOT_AN_AUTHORITY = "NotAnAuthority"
    NOT_A_LEAF = "NotALeaf"
    PATH_TOO_LONG = "PathTooLong"
    NAME_NOT_EXTENDED = "NameNotExtended"
    DELEGATION_NOT_ACCEPTED = "DelegationNotAccepted"
    UNRECOGNISED_ROOT = "UnrecognisedRoot"
    ROOT_NOT_TRUSTED_FOR_NAME = "RootNotTrustedForName"
    CAVEAT_FAILED = "CaveatFailed"
    UNKNOWN_CAVEAT = "UnknownCaveat"
    MISSING_DISCHARGE = "MissingDischarge"
    REVOKED = "Revoked"
    REVOCATION_UNKNOWN = "RevocationUnknown"


class VerificationError(BlessingsError):
    """A chain proves no name; `reason` states why in one word, the message in a sentence.

    `certificate` is the place of the wrong certificate in the chain: 0 for the leaf, and the chain's length
    for the root that would have signed its last certificate. `field` is the RFC 5280 name of the field that
    is wrong. Each is None where it does not apply.
    """

    def __init__(
        self, reason: Reason, message: str, *, certificate: int | None = None, field: str | None = None
    ) -> None:
        super().__init__(located(message, field, certificate))
        self.problem = message
        self.reason = reason
        self.certificate = certificate
        self.field = field

    def above(self, below: int) -> VerificationError:
        """This error, with its place in the chain that begins above the first `below` certificates."""
        place = None if self.certificate is None or self.certificate < below else self.certificate - below
        return VerificationError(self.reason, self.problem, certificate=place, field=self.field)


def located(message: str, field: str | None, certificate: int | None) -> str:
    """`certificate 1, keyUsage: <message>`, without the parts that are None."""
    places = [f"certificate {certificate}"] if certificate is not None else []
    places += [field] if field is not None else []
    return f"{', '.join(places)}: {message}" if places else message
