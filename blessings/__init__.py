"""The security model as a library: names, principals, blessings, and what they prove.

    from blessings import Authority, Name, Principal, Roots, verify_blessing

    root = Authority.create_root(Name.parse("acme"), Principal.create(), now=now, lifetime=ten_years)
    replica = Principal.create()
    blessing = root.bless(replica.public_key, "web:web-1", now=now, lifetime=one_hour)
    name = verify_blessing(blessing, Roots.of(root.certificate), now=now)   # acme:web:web-1

It knows no network, no Kubernetes and no files; time comes in as a parameter.
"""

from blessings.authority import Authority
from blessings.blessing import Blessing
from blessings.errors import (
    BlessingsError,
    CannotBless,
    InvalidCertificate,
    InvalidKey,
    InvalidName,
    InvalidPattern,
    Reason,
    VerificationError,
)
from blessings.names import Name
from blessings.patterns import Pattern
from blessings.principal import Principal, fingerprint, verify_signature
from blessings.roots import Root, Roots
from blessings.verification import Rejection, Verdict, verify, verify_blessing

__all__ = [
    "Authority",
    "Blessing",
    "BlessingsError",
    "CannotBless",
    "InvalidCertificate",
    "InvalidKey",
    "InvalidName",
    "InvalidPattern",
    "Name",
    "Pattern",
    "Principal",
    "Reason",
    "Rejection",
    "Root",
    "Roots",
    "Verdict",
    "VerificationError",
    "fingerprint",
    "verify",
    "verify_blessing",
    "verify_signature",
]
