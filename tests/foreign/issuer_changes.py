"""What may be different in an issuer or its root: each change alone, and how it is to be judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.blessings.der_tree import Node, parse
from tests.foreign.issuers import (
    ALGORITHM,
    BOTH,
    EXTENSIONS,
    NOW,
    SERIAL,
    VALIDITY,
    VERSION,
    Change,
    Extension,
    Foreign,
    Signing,
    foreign,
    usage,
)

CLIENT, SERVER = BOTH
ANY, CODE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, ExtendedKeyUsageOID.CODE_SIGNING
# An arc above 31 bits, which Go's parser does not read.
UUID = ObjectIdentifier("2.25.339504356015290655442112984241921038209")
UNKNOWN = ObjectIdentifier("1.3.6.1.4.1.99999.1")
ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
ROOT, ISSUER = "root", "issuer"
EACH = (ROOT, ISSUER)


@dataclass(frozen=True)
class Case:
    """A change of the root, of the issuer, or of each in turn. We accept it when `refused` is None; else
    the refusal names this field. `stricter`: why we refuse what others accept."""

    what: str
    change: Change
    refused: str | None = None
    places: tuple[str, ...] = EACH
    stricter: str = ""

    def made(self, place: str) -> Foreign:
        return foreign(root=self.change) if place == ROOT else foreign(issuer=self.change)


def _names(*, critical: bool = False, **subtrees: x509.GeneralName) -> Change:
    permitted, excluded = ([subtrees[one]] if one in subtrees else None for one in ("permitted", "excluded"))
    return _more(x509.NameConstraints(permitted, excluded), critical=critical)


def _usages(*usages: ObjectIdentifier, critical: bool = False) -> Change:
    return _more(x509.ExtendedKeyUsage(usages), critical=critical)


def _more(value: x509.ExtensionType, *, critical: bool = False) -> Change:
    return Change(more=[(value, critical)])


def _other(kind: type[x509.ExtensionType], to: Extension | None) -> Change:
    return Change(extensions={kind: to})


def _keys(*, critical: bool = True, **allowed: bool) -> Change:
    return _other(x509.KeyUsage, (usage(**allowed), critical))


def _basic(ca: bool, length: int | None = None, *, critical: bool = True) -> Change:
    return _other(x509.BasicConstraints, (x509.BasicConstraints(ca, length), critical))


def _identifier(*, critical: bool = False) -> Change:
    return _other(x509.SubjectKeyIdentifier, (x509.SubjectKeyIdentifier(b"\x02" * 8), critical))


def _authority(name: str | None = None, serial: int | None = None, *, key: Any = None) -> Change:
    """An authority key identifier. `key` replaces the right one; b"" is none. The serial number 0 stands for
    the right one."""

    def stated(above: Signing | None, identifier: bytes) -> x509.AuthorityKeyIdentifier:
        dc = None if name is None else x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, name)])
        return x509.AuthorityKeyIdentifier(
            (identifier if key is None else key) or None,
            None if dc is None else [x509.DirectoryName(dc)],
            above.certificate.serial_number if above is not None and serial == 0 else serial,
        )

    return Change(authority=stated)


def _unknown(identifier: ObjectIdentifier, *, critical: bool = False) -> Change:
    return _more(x509.UnrecognizedExtension(identifier, b"\x05\x00"), critical=critical)


def _serial(value: bytes) -> Change:
    return Change(forge=lambda signed: signed.with_changed(SERIAL, lambda _: (Node(0x02, value),)))


def _version_1(signed: Node) -> Node:
    return signed.with_changed(EXTENSIONS, lambda _: ()).with_changed(VERSION, lambda _: ())


def _generalized(signed: Node) -> Node:
    times = tuple(Node(0x18, b"20" + one.value) for one in signed.at(VALIDITY).children or ())
    return signed.with_changed(VALIDITY, lambda _: (Node(0x30, children=times),))


def _by_sha1(signed: Node) -> Node:
    return signed.with_changed(ALGORITHM, lambda _: (parse(ECDSA_SHA1),))


def _policies(identifier: ObjectIdentifier, *, critical: bool = False) -> Change:
    return _more(x509.CertificatePolicies([x509.PolicyInformation(identifier, None)]), critical=critical)


def _uris(*others: x509.GeneralName, critical: bool = False) -> Change:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://acme"), *others])
    return _other(x509.SubjectAlternativeName, (names, critical))


_OURS, _OTHERS = (x509.UniformResourceIdentifier(one) for one in ("acme", "other"))
_DNS = x509.DNSName("example.com")
_SUBJECT = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "other")]))
_NAMES, _USAGES, _KEYS = "nameConstraints", "extKeyUsage", "keyUsage"
_BASIC, _LENGTH, _SERIAL_FIELD = "basicConstraints", "pathLenConstraint", "serialNumber"
_AUTHORITY, _ITSELF, _KEY = "authorityKeyIdentifier", "subjectKeyIdentifier", "subjectPublicKeyInfo"
_NEVER = "no name constraints at all: this library evaluates none"
_KINDS = "the profile has P-256 and Ed25519 only, with one signature algorithm each"
_RFC = "RFC 5280 forbids it"
_CRITICAL = "extensions"

CASES = [
    Case("nothing", Change()),
    Case("names: our URI excluded", _names(excluded=_OURS), _NAMES),
    Case("names: our URI excluded, critical", _names(excluded=_OURS, critical=True), _NAMES),
    Case("names: our URI permitted", _names(permitted=_OURS), _NAMES),
    Case("names: another URI permitted", _names(permitted=_OTHERS), _NAMES),
    Case("names: another URI permitted, critical", _names(permitted=_OTHERS, critical=True), _NAMES),
    Case("names: a DNS name permitted", _names(permitted=_DNS), _NAMES, stricter=_NEVER),
    Case(
        "names: a DNS name excluded, critical", _names(excluded=_DNS, critical=True), _NAMES, stricter=_NEVER
    ),
    Case("names: another subject permitted", _names(permitted=_SUBJECT), _NAMES),
    Case("names: every subject excluded", _names(excluded=x509.DirectoryName(x509.Name([]))), _NAMES),
    Case("usages: server alone", _usages(SERVER), _USAGES),
    Case("usages: client alone", _usages(CLIENT), _USAGES),
    Case("usages: both", _usages(CLIENT, SERVER)),
    Case("usages: both, critical", _usages(CLIENT, SERVER, critical=True), _USAGES),
    Case("usages: any", _usages(ANY), _USAGES),
    Case("usages: any and server", _usages(ANY, SERVER), _USAGES),
    Case("usages: any and both", _usages(CLIENT, SERVER, ANY)),
    Case("usages: signing code", _usages(CODE), _USAGES),
    Case("usages: both, and one that Go cannot read", _usages(CLIENT, SERVER, UUID), _CRITICAL),
    Case("no key usage", _other(x509.KeyUsage, None), _KEYS),
    Case("key usage without keyCertSign", _keys(crl_sign=True, digital_signature=True), _KEYS),
    Case("key usage without cRLSign, which signs no lists", _keys(key_cert_sign=True)),
    Case("key usage that is not critical", _keys(key_cert_sign=True, crl_sign=True, critical=False)),
    Case("key usage with digitalSignature", _keys(key_cert_sign=True, crl_sign=True, digital_signature=True)),
    Case("no basic constraints", _other(x509.BasicConstraints, None), _BASIC),
    Case("no authority", _basic(False), _KEYS),
    Case("basic constraints that are not critical", _basic(True, critical=False), _BASIC),
    Case("path length 0 in the root", _basic(True, 0), _LENGTH, (ROOT,)),
    Case("path length 0", _basic(True, 0), "path length 0", (ISSUER,)),
    Case("path length 1 in the root", _basic(True, 1), _LENGTH, (ROOT,)),
    Case("path length 1", _basic(True, 1), None, (ISSUER,)),
    Case("path length 2", _basic(True, 2)),
    Case("an unknown critical extension", _unknown(UNKNOWN, critical=True), _CRITICAL),
    Case("an unknown extension", _unknown(UNKNOWN)),
    Case("an extension that Go cannot read", _unknown(UUID), _CRITICAL),
    Case("expired", Change(end=NOW - timedelta(hours=1)), "expired"),
    Case("not valid yet", Change(begin=NOW + timedelta(hours=1)), "valid"),
    Case("signed with SHA-1", Change(forge=_by_sha1, sha1=True), "signatureAlgorithm", (ISSUER,)),
    Case("signed with SHA-384", Change(algorithm=hashes.SHA384()), "signatureAlgorithm", stricter=_KINDS),
    Case(
        "a key on P-384", Change(key=lambda: ec.generate_private_key(ec.SECP384R1())), "key", stricter=_KINDS
    ),
    Case("a key on P-224", Change(key=lambda: ec.generate_private_key(ec.SECP224R1())), "key"),
    Case(
        "RSA, 1024 bits",
        Change(key=lambda: rsa.generate_private_key(65537, 1024)),  # noqa: S505 - others refuse it
        "key",
    ),
    Case("RSA, 2048 bits", Change(key=lambda: rsa.generate_private_key(65537, 2048)), "key", stricter=_KINDS),
    Case("version 1", Change(forge=_version_1), _BASIC),
    Case("a negative serial number", _serial(b"\x80\x01\x02"), _SERIAL_FIELD),
    Case("the serial number 0", _serial(b"\x00"), _SERIAL_FIELD, stricter=_RFC),
    Case("a serial number of 20 octets", _serial(b"\x7f" * 20)),
    Case("a serial number of 21 octets", _serial(b"\x7f" * 21), _SERIAL_FIELD, stricter=_RFC),
    Case("a serial number of 22 octets", _serial(b"\x7f" * 22), _SERIAL_FIELD),
    Case("another authority's key", _authority(key=b"\x01" * 20), _AUTHORITY),
    Case("another authority's serial number", _authority("acme", 77), _AUTHORITY, (ISSUER,)),
    Case("another authority's issuer", _authority("other", 0), _AUTHORITY, (ISSUER,)),
    Case("the authority's issuer and serial number", _authority("acme", 0), None, (ISSUER,)),
    Case("the authority's serial number, not its key", _authority("acme", 0, key=b""), _AUTHORITY, (ISSUER,)),
    Case("no authority key identifier in a root", _other(x509.AuthorityKeyIdentifier, None), None, (ROOT,)),
    Case("no authority key identifier", _other(x509.AuthorityKeyIdentifier, None), _AUTHORITY, (ISSUER,)),
    Case("no key identifier", _other(x509.SubjectKeyIdentifier, None), _ITSELF),
    Case("a key identifier that is not the one stated in itself", _identifier(), _AUTHORITY, (ROOT,)),
    Case("a key identifier of its own kind", _identifier(), None, (ISSUER,)),
    Case("a critical key identifier", _identifier(critical=True), _CRITICAL, (ISSUER,)),
    Case("policies required", _more(x509.PolicyConstraints(0, None)), "policyConstraints", (ISSUER,)),
    Case(
        "policies required further below",
        _more(x509.PolicyConstraints(5, None)),
        "policyConstraints",
        stricter="none of our chains would be long enough to be refused",
    ),
    Case("policy mapping inhibited", _more(x509.PolicyConstraints(None, 0))),
    Case("any policy inhibited", _more(x509.InhibitAnyPolicy(0))),
    Case("policies", _policies(UNKNOWN)),
    Case("policies, critical", _policies(UNKNOWN, critical=True), _CRITICAL),
    Case("a DNS name of its own", _uris(x509.DNSName("ca.example.com"))),
    Case("critical alternative names", _uris(critical=True)),
    Case("signed by another key", Change(signed_by_another=True), "issuer", (ISSUER,)),
    Case("GeneralizedTime before 2050", Change(forge=_generalized), "UtcTime"),
]
