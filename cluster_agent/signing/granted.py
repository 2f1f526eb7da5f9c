"""The checks of an administrator's blessing before anything is signed with it, as functions of values alone.

For each check there is a test with the attack that it stops, in tests/cluster_agent: claims/test_claim.py or
registry/test_registry.py.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from blessings import (
    Authority,
    Blessing,
    BlessingsError,
    CannotBless,
    InvalidCertificate,
    Name,
    Pattern,
    Principal,
    VerificationError,
    fingerprint,
)
from blessings.encoding.chains import parse_pem_chain
from blessings.granting.trial import check_issuer
from blessings.profile import reader
from blessings.profile.fields import Role, extensions_of, one_of
from blessings.verification.plain_verifiers import check_form
from cluster_agent.errors import BadRequest


def parse_root(pem: str, name: Name) -> x509.Certificate:
    """The root certificate for `name` in `pem`. Raises BadRequest."""
    try:
        certificates = parse_pem_chain(pem)
        if len(certificates) != 1:
            raise BadRequest("InvalidRoot", f"the root must be one certificate, got {len(certificates)}")
        (root,) = certificates
        facts = reader.read(root)
        check_form(root)
    except InvalidCertificate as error:
        raise BadRequest("InvalidRoot", f"the root certificate: {error}") from error
    if facts.role is not Role.SIGNER:
        raise BadRequest(
            "InvalidRoot", f"a root must be a signing certificate, {facts.name} is a {facts.role}"
        )
    if facts.name != name:
        raise BadRequest(
            "OtherRoot", f"the root is {facts.name}, this cluster agent's prefix is under {name}"
        )
    try:
        root.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise BadRequest("InvalidRoot", "the root certificate is not signed by its own key") from error
    return root


def parse_chain(pem: str, root: x509.Certificate) -> Blessing:
    """The chain in `pem`, without the root. Raises BadRequest."""
    try:
        chain = parse_pem_chain(pem)
        return Blessing(chain[:-1] if len(chain) > 1 and chain[-1] == root else chain)
    except InvalidCertificate as error:
        raise BadRequest("InvalidChain", f"the chain: {error}") from error


def check_chain(
    chain: Blessing,
    root: x509.Certificate,
    name: Name,
    *,
    issuing: Principal,
    room_below: bool,
    now: datetime,
) -> None:
    """Checks that `chain` lets our issuing key name replicas under `name`, and that X.509 verifiers that
    recognise `root` accept them; with `room_below` also through application certificates of its own. Raises
    BadRequest.

    The final check is a trial: a replica is named, for a key that is thrown away, and judged as its peers
    would judge it.
    """
    try:
        facts = chain.facts(0)
        restricted = reader.read(root).restricted or not chain.is_svid
    except InvalidCertificate as error:
        raise BadRequest("InvalidChain", f"the chain: {error}") from error
    if fingerprint(facts.public_key) != fingerprint(issuing.public_key):
        raise BadRequest(
            "BlessingForAnotherKey",
            f"the blessing is for the key {fingerprint(facts.public_key)}, this cluster agent's is "
            f"{fingerprint(issuing.public_key)}",
        )
    if facts.name != name:
        raise BadRequest("OtherName", f"the blessing's name is {facts.name}, it must be {name}")
    if facts.role is not Role.SIGNER:
        raise BadRequest("NotSigning", f"the blessing of {name} is a {facts.role}, so it can name nobody")
    if restricted:
        raise BadRequest(
            "RestrictedBlessing", "the chain has caveats, so no X.509 verifier would accept what is below it"
        )
    if room_below and facts.path_length == 0:
        raise BadRequest(
            "NoRoomBelow", f"the blessing of {name} has path length 0, so no application can be granted below"
        )
    if not (room_below or _may_sign_lists(chain.leaf)):
        raise BadRequest(
            "CannotRevoke",
            f"the blessing of {name} has no cRLSign in its key usage, so no X.509 verifier would accept a "
            "revocation list for what is below it",
        )
    try:
        check_issuer(Authority(issuing, chain), root, grants=room_below, now=now)
    except VerificationError as error:
        raise BadRequest("ChainInvalid", f"the chain is not valid: {error.reason}: {error}") from error
    except (CannotBless, BlessingsError) as error:
        raise BadRequest("ChainInvalid", f"the chain cannot be used: {error}") from error


def _may_sign_lists(certificate: x509.Certificate) -> bool:
    usage = one_of(extensions_of(certificate), x509.KeyUsage)
    return usage is not None and usage.crl_sign


def check_time_left(chain: Blessing, at_least: timedelta, now: datetime) -> None:
    """Raises BadRequest for a chain that ends too soon."""
    if chain.not_after - now < at_least:
        raise BadRequest(
            "EndsTooSoon",
            f"the chain ends at {chain.not_after.isoformat()}, it must last at least {at_least}",
        )


def may_match_below(pattern: Pattern, name: Name) -> bool:
    """Whether `pattern` matches a name that extends `name`."""
    if pattern.name is None or pattern.name.is_extension_of(name):
        return True
    return not pattern.exact and (pattern.name == name or name.is_extension_of(pattern.name))
