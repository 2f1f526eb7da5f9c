"""Who is calling: what the client certificate of a connection proves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding

from blessings import Blessing, Name, Pattern, Roots, VerificationError, verify_blessing
from cluster_agent.errors import Forbidden, NotAuthenticated
from cluster_agent.signing import BOOTSTRAP_ROOT


@dataclass(frozen=True)
class Caller:
    """A client whose certificate chain holds: its proven name, and the certificate it came with."""

    name: Name
    blessing: Blessing

    @property
    def holds_bootstrap_credential(self) -> bool:
        return self.name.is_extension_of(BOOTSTRAP_ROOT)

    @property
    def certificate_fingerprint(self) -> str:
        return certificate_fingerprint(self.blessing)


def identify(blessing: Blessing | None, roots: Roots, now: datetime) -> Caller:
    """The caller behind a presented chain. Raises NotAuthenticated.

    The TLS handshake checked the chain already; this checks it by our rules (names, patterns), and again
    for its time, because connections outlive certificates.
    """
    if blessing is None:
        raise NotAuthenticated("ClientCertificateRequired", "this call needs a client certificate")
    try:
        return Caller(verify_blessing(blessing, roots, now=now), blessing)
    except VerificationError as error:
        raise NotAuthenticated("ClientCertificateInvalid", f"{error.reason}: {error}") from error


def is_administrator(caller: Caller, administrators: tuple[Pattern, ...]) -> bool:
    """Whether a pattern of the access list matches the caller's name."""
    return any(pattern.matches(caller.name) for pattern in administrators)


def require_administrator(caller: Caller, administrators: tuple[Pattern, ...]) -> None:
    """Raises Forbidden when no pattern of the access list matches the caller's name."""
    if not is_administrator(caller, administrators):
        raise Forbidden("NotAnAdministrator", f"{caller.name} is not in the administrators' access list")


def certificate_fingerprint(blessing: Blessing) -> str:
    """SHA-256 over the leaf's DER, in hex."""
    return hashlib.sha256(blessing.leaf.public_bytes(Encoding.DER)).hexdigest()
