"""Vectors of verification: chains and certificates that prove nothing to any verifier."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.vectors import caveats
from tests.vectors.caveats import restrictions
from tests.vectors.chains import NAME, REPLICA, ROOT_MADE, SECOND, WEB, Case
from tests.vectors.making import (
    APPLICATION,
    DAY,
    HOUR,
    LEAF,
    MINUTE,
    NOW,
    ROOT,
    YEAR,
    constraints,
    dc,
    flipped,
    make,
    uris,
    usage,
)


def cases() -> list[Case]:
    return [*chains(), *_keys(), *_forms(), *_signers(), *_restrictions()]


def chains() -> list[Case]:
    other_root = make(ROOT, "acme", "other root")
    other_web = make(APPLICATION, "acme:web", "application", other_root)
    outside = make(LEAF, "acme:website:web-1", "replica", WEB)
    same = make(LEAF, "acme:web", "replica", WEB)
    early = make(LEAF, NAME, "replica", WEB, begin=NOW - MINUTE - SECOND)
    late = make(LEAF, NAME, "replica", WEB, end=NOW + 30 * DAY + SECOND)
    inner = make(APPLICATION, "acme:web:inner", "inner", WEB)
    beneath = make(LEAF, "acme:web:inner:x", "x", inner)
    gone = make(ROOT, "acme", "root", end=NOW + 30 * MINUTE)
    unrecognised = ("UnrecognisedRoot", 1, "issuer")
    not_issuer = make(LEAF, NAME, "replica", make(APPLICATION, "acme:db", "database", ROOT_MADE))
    return [
        Case("not yet valid", [REPLICA, WEB], ("NotYetValid", 0, "notBefore"), now=NOW - MINUTE - SECOND),
        Case("expired at its end", [REPLICA, WEB], ("Expired", 0, "notAfter"), now=NOW + HOUR),
        Case("root of the same name and another key", [REPLICA, WEB], unrecognised, [(other_root, "acme")]),
        Case("signed by a root of the same name", [REPLICA, other_web], unrecognised),
        Case("no roots", [REPLICA, WEB], unrecognised, ()),
        Case(
            "root trusted for other names",
            [REPLICA, WEB],
            ("RootNotTrustedForName", 2, None),
            [(ROOT_MADE, "acme:db")],
        ),
        Case(
            "root trusted for a name that begins alike",
            [REPLICA, WEB],
            ("RootNotTrustedForName", 2, None),
            [(ROOT_MADE, "acme:w")],
        ),
        Case(
            "root trusted for the application alone",
            [REPLICA, WEB],
            ("RootNotTrustedForName", 2, None),
            [(ROOT_MADE, "acme:web:$")],
        ),
        Case("a name that begins alike", [outside, WEB], ("NameNotExtended", 0, "subjectAltName")),
        Case("the issuer's own name", [same, WEB], ("NameNotExtended", 0, "subjectAltName")),
        Case("begins before its issuer", [early, WEB], ("TimesDoNotNest", 0, "notBefore")),
        Case("ends after its issuer", [late, WEB], ("TimesDoNotNest", 0, "notAfter")),
        Case("root that ends before", [REPLICA, WEB], ("TimesDoNotNest", 1, "notAfter"), [(gone, "acme")]),
        Case(
            "expired root",
            [REPLICA, WEB],
            ("Expired", 2, "notAfter"),
            [(make(ROOT, "acme", "root", begin=NOW - YEAR, end=NOW - DAY), "acme")],
        ),
        Case("changed signature", [flipped(REPLICA), WEB], ("BadSignature", 0, "signatureValue")),
        Case("changed signature above", [REPLICA, flipped(WEB)], unrecognised),
        Case("another order", [WEB, REPLICA], ("OutOfOrder", 1, "issuer")),
        Case("a certificate twice", [REPLICA, WEB, WEB], ("Cyclic", 2, None)),
        Case("another issuer", [not_issuer, WEB], ("IssuerMismatch", 0, "issuer")),
        Case("a gap", [REPLICA], ("UnrecognisedRoot", 0, "issuer")),
        Case("root alone", [ROOT_MADE], ("NotALeaf", None, None)),
        Case("application alone", [WEB], ("NotALeaf", 0, "basicConstraints")),
        Case(
            "more signing certificates than allowed",
            [beneath, inner, WEB],
            ("PathTooLong", 2, "pathLenConstraint"),
        ),
        Case("shorter limit", [REPLICA, WEB], ("ChainTooLong", None, None), policy={"maxChainLength": 1}),
        Case(
            "key that the policy does not accept",
            [make(LEAF, NAME, "ed25519 replica", WEB), WEB],
            ("KeyNotAccepted", 0, "subjectPublicKeyInfo"),
            policy={"keyKinds": ["P-256"]},
        ),
    ]


def _leaf(title: str, reason: str, field: str, **changes: Any) -> Case:
    made = make(LEAF, NAME, "replica", WEB, **changes)
    return Case(title, [made, WEB], (reason, 0, field), delegations=1)


def _keys() -> list[Case]:
    # RSA keys of no use: their numbers need not be of primes, and nobody has the private halves.
    weak = rsa.RSAPublicNumbers(65537, (1 << 2047) | 1).public_key()
    p384 = ec.derive_private_key(2026, ec.SECP384R1()).public_key()
    return [
        _leaf("RSA key", "WeakKey", "subjectPublicKeyInfo", public_key=weak),
        _leaf("key on P-384", "WeakKey", "subjectPublicKeyInfo", public_key=p384),
        _leaf("ECDSA with SHA-384", "Malformed", "signatureAlgorithm", algorithm=hashes.SHA384()),
    ]


def _forms() -> list[Case]:
    spiffe = "spiffe://acme/web/web-1"
    code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    two_values = x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "acme")]),
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(NameOID.DOMAIN_COMPONENT, one) for one in ("web", "db")]
            ),
        ]
    )
    upper = make(APPLICATION, "Acme:web", "application", ROOT_MADE)
    uri = make(APPLICATION, "acme:web", "application", ROOT_MADE, change={"subjectAltName": uris(spiffe)})
    double = make(APPLICATION, "acme:web", "application", ROOT_MADE, subject=two_values)

    def changed(title: str, field: str, extension: str, to: Any, reason: str = "Malformed") -> Case:
        return _leaf(title, reason, field, change={extension: to})

    return [
        changed("no basic constraints", "basicConstraints", "basicConstraints", None),
        changed("no key usage", "keyUsage", "keyUsage", None),
        changed("leaf that may sign", "keyUsage", "keyUsage", usage(sign=True, digital_signature=True)),
        changed(
            "leaf without digitalSignature",
            "keyUsage",
            "keyUsage",
            usage(sign=False, digital_signature=False),
        ),
        changed("leaf with CA:TRUE", "keyUsage", "basicConstraints", constraints(True)),
        changed("for signing code", "extKeyUsage", "extKeyUsage", (code, False)),
        changed("no alternative name", "subjectAltName", "subjectAltName", None),
        changed("two SPIFFE IDs", "subjectAltName", "subjectAltName", uris(spiffe, spiffe + "2")),
        changed("SPIFFE ID without a path", "subjectAltName", "subjectAltName", uris("spiffe://acme")),
        changed(
            "SPIFFE ID of an upper-case domain",
            "subjectAltName",
            "subjectAltName",
            uris("spiffe://ACME/web/web-1"),
        ),
        changed("SPIFFE ID with a trailing slash", "subjectAltName", "subjectAltName", uris(spiffe + "/")),
        changed(
            "SPIFFE ID with a port", "subjectAltName", "subjectAltName", uris("spiffe://acme:443/web/web-1")
        ),
        changed("SPIFFE ID with a query", "subjectAltName", "subjectAltName", uris(spiffe + "?a=b")),
        changed(
            "SPIFFE ID with an encoded slash",
            "subjectAltName",
            "subjectAltName",
            uris("spiffe://acme/web/web%2f1"),
        ),
        changed(
            "SPIFFE ID with dots", "subjectAltName", "subjectAltName", uris("spiffe://acme/web/../web-1")
        ),
        changed("URL of another scheme", "subjectAltName", "subjectAltName", uris("https://acme/web/web-1")),
        changed(
            "unknown critical extension", "extensions", "more", (unknown, True), "UnknownCriticalExtension"
        ),
        Case(
            "unknown extension that is not critical",
            [make(LEAF, NAME, "replica", WEB, change={"more": (unknown, False)}), WEB],
            NAME,
        ),
        Case(
            "signing certificate of an upper-case root",
            [make(LEAF, NAME, "replica", upper), upper],
            ("Malformed", 1, "subject"),
        ),
        Case(
            "signing certificate with a path in its SPIFFE ID",
            [make(LEAF, NAME, "replica", uri), uri],
            ("Malformed", 1, "subjectAltName"),
        ),
        Case(
            "component with two values",
            [make(LEAF, NAME, "replica", double), double],
            ("Malformed", 1, "subject"),
        ),
    ]


def _signers() -> list[Case]:
    """Signing certificates that limit what is below them, or state another issuer."""
    names = x509.NameConstraints(None, [x509.UniformResourceIdentifier("acme")])
    other = x509.AuthorityKeyIdentifier(b"\x01" * 20, None, None)
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])

    def signer(title: str, field: str, value: x509.ExtensionType, reason: str = "Malformed") -> Case:
        issuer = make(APPLICATION, "acme:web", "application", ROOT_MADE, change={field: (value, False)})
        return Case(title, [make(LEAF, NAME, "replica", issuer), issuer], (reason, 1, field))

    return [
        signer("name constraints that are not critical", "nameConstraints", names),
        signer("required policies", "policyConstraints", x509.PolicyConstraints(0, None)),
        signer("issuer of servers alone", "extKeyUsage", server),
        signer("basic constraints that are not critical", "basicConstraints", x509.BasicConstraints(True, 0)),
        signer("key identifier of another root", "authorityKeyIdentifier", other, "IssuerMismatch"),
    ]


def _restrictions() -> list[Case]:
    def leaf(title: str, text: str, field: str = "restrictions", **changes: Any) -> Case:
        return _leaf(title, "Malformed", field, restrictions=text, **changes)

    held = restrictions(caveats.EXPIRY)
    empty_name = x509.Name([])
    return [
        leaf("restrictions that are not critical", held, critical=False),
        leaf("restrictions of another version", held.replace('"version":1', '"version":2')),
        leaf("restrictions with a field more", held.replace("}]", '}],"and":1')),
        leaf("restrictions with a space", held.replace(",", ", ")),
        leaf("restrictions with a key twice", held.replace('"version":1', '"version":1,"version":1')),
        leaf("restrictions of nothing", restrictions()),
        leaf("restrictions with a fraction", held.replace('"version":1', '"version":1.0')),
        leaf("expiry with a field more", restrictions({**caveats.EXPIRY, "more": 1})),
        leaf("expiry at hour 24", restrictions({**caveats.EXPIRY, "at": "2026-11-24T24:00:00Z"})),
        leaf("expiry with an offset", restrictions({**caveats.EXPIRY, "at": "2026-11-24T13:00:00+01:00"})),
        leaf("no methods", restrictions({**caveats.METHODS, "methods": []})),
        leaf("thirty-three caveats", restrictions(*[caveats.EXPIRY] * 33)),
        leaf(
            "caveats and a SPIFFE ID",
            held,
            "subjectAltName",
            change={"subjectAltName": uris("spiffe://acme/web/web-1")},
        ),
        leaf("caveats and no name", held, "subject", subject=empty_name),
        leaf("caveats and a root's name", held, "subject", subject=dc("acme")),
    ]
