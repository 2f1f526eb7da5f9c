"""Who is calling: what the client certificate of a connection proves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding

from blessings import (
    AccessList,
    Blessing,
    Name,
    PublicKey,
    Roots,
    VerificationError,
    fingerprint,
    verify_blessing,
)
from blessings.certificate_fields import public_key_of
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


@dataclass(frozen=True)
class Administrators:
    """Who may administer: whose proven name the access list allows. Never who was named by `issuing_key`,
    this agent's own, and never a bootstrap credential: however wide the list's patterns are, nobody
    administers what names it."""

    access_list: AccessList
    issuing_key: PublicKey

    def allow(self, caller: Caller) -> bool:
        if caller.holds_bootstrap_credential or self._named_by_us(caller.blessing):
            return False
        return self.access_list.allows([caller.name])

    def _named_by_us(self, blessing: Blessing) -> bool:
        ours = fingerprint(self.issuing_key)
        return any(fingerprint(public_key_of(one)) == ours for one in blessing.certificates[1:])


def is_administrator(caller: Caller, administrators: Administrators) -> bool:
    """Whether the caller may administer."""
    return administrators.allow(caller)


def require_administrator(caller: Caller, administrators: Administrators) -> None:
    """Raises Forbidden when the caller may not administer."""
    if not is_administrator(caller, administrators):
        raise Forbidden("NotAnAdministrator", f"{caller.name} is not in the administrators' access list")


def certificate_fingerprint(blessing: Blessing) -> str:
    """SHA-256 over the leaf's DER, in hex."""
    return hashlib.sha256(blessing.leaf.public_bytes(Encoding.DER)).hexdigest()
