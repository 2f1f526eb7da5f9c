"""The security model as a library: names, principals, blessings, and what they prove.

    from blessings import Authority, Name, Principal, Roots, verify_blessing

    root = Authority.create_root(Name.parse("acme"), Principal.create(), now=now, lifetime=ten_years)
    replica = Principal.create()
    blessing = root.bless(replica.public_key, "web:web-1", now=now, lifetime=one_hour)
    name = verify_blessing(blessing, Roots.of(root.certificate), now=now)   # acme:web:web-1

It knows no network and no Kubernetes; time comes in as a parameter. Only two modules use files, and no other
module here imports them: `blessings.tls`, because Python's ssl reads a key from a path only, and
`blessings.directory`, because how a private key is kept on a disk (modes, atomic writes, encryption) belongs
to the security model: a program that uses the library alone should not have to write it again.
"""

from blessings.access_lists import AccessList, Permissions
from blessings.blessing import Blessing
from blessings.bundles import TrustBundle
from blessings.caveats.discharges import Discharge, Discharges
from blessings.caveats.kinds import (
    Call,
    Caveat,
    CaveatRegistry,
    Custom,
    Expiry,
    Methods,
    PeerBlessings,
    ThirdParty,
    Unknown,
)
from blessings.discharge_cache import DischargeCache
from blessings.errors import (
    BlessingsError,
    CannotBless,
    InvalidAccessList,
    InvalidBundle,
    InvalidCaveat,
    InvalidCertificate,
    InvalidJwt,
    InvalidKey,
    InvalidName,
    InvalidPattern,
    InvalidRevocationList,
    InvalidStore,
    ReadOnly,
    Reason,
    UnacceptableKey,
    VerificationError,
)
from blessings.granting.authority import Authority
from blessings.granting.delegation import delegate
from blessings.granting.discharge import discharge
from blessings.keys import KeyKind, PublicKey, fingerprint
from blessings.names import Name
from blessings.patterns import Pattern
from blessings.principal import Principal, verify_signature
from blessings.principals.blessed_principal import BlessedPrincipal, MemoryPrincipal
from blessings.principals.blessing_store import BlessingStore
from blessings.revocation import RevocationList, RevocationLists, RevocationSource, WithoutList
from blessings.roots import Root, Roots
from blessings.verification.policy import SVIDS_ONLY, WITH_DELEGATION, Policy
from blessings.verification.verifier import Rejection, Verdict, verify, verify_blessing

__all__ = [
    "SVIDS_ONLY",
    "WITH_DELEGATION",
    "AccessList",
    "Authority",
    "BlessedPrincipal",
    "Blessing",
    "BlessingStore",
    "BlessingsError",
    "Call",
    "CannotBless",
    "Caveat",
    "CaveatRegistry",
    "Custom",
    "Discharge",
    "DischargeCache",
    "Discharges",
    "Expiry",
    "InvalidAccessList",
    "InvalidBundle",
    "InvalidCaveat",
    "InvalidCertificate",
    "InvalidJwt",
    "InvalidKey",
    "InvalidName",
    "InvalidPattern",
    "InvalidRevocationList",
    "InvalidStore",
    "KeyKind",
    "MemoryPrincipal",
    "Methods",
    "Name",
    "Pattern",
    "PeerBlessings",
    "Permissions",
    "Policy",
    "Principal",
    "PublicKey",
    "ReadOnly",
    "Reason",
    "Rejection",
    "RevocationList",
    "RevocationLists",
    "RevocationSource",
    "Root",
    "Roots",
    "ThirdParty",
    "TrustBundle",
    "UnacceptableKey",
    "Unknown",
    "Verdict",
    "VerificationError",
    "WithoutList",
    "delegate",
    "discharge",
    "fingerprint",
    "verify",
    "verify_blessing",
    "verify_signature",
]
