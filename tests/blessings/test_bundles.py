"""Trust bundles in SPIFFE's format, of ours and of others."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from spiffe import TrustDomain, X509Bundle

from blessings import (
    Authority,
    Blessing,
    InvalidBundle,
    KeyKind,
    Name,
    Pattern,
    Principal,
    Reason,
    Root,
    Roots,
    TrustBundle,
    VerificationError,
    verify_blessing,
)
from tests.blessings.forging import LEAF_USAGE, SIGNER_USAGE, certificate
from tests.chains import NOW, YEAR, realm

ONE = realm()
ACME, PARTNER = Name.parse("acme"), Name.parse("partner")


def foreign_root(key: Principal, key_in_it: Any = None, uri: str = "spiffe://partner") -> x509.Certificate:
    """As SPIRE makes one: a subject of its own, and the trust domain as URI."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SPIRE"),
        ]
    )
    return certificate(
        key,
        subject,
        key_in_it or key.public_key,
        subject=subject,
        ca=True,
        usage=SIGNER_USAGE,
        uris=(uri,),
        end=NOW + YEAR,
    )


def value(**changes: object) -> dict[str, Any]:
    """A bundle of one key, with changes to the key."""
    made: Any = TrustBundle.of(ONE.roots, ACME).to_value()
    made["keys"][0].update(changes)
    return made  # type: ignore[no-any-return]


def test_an_exported_bundle_has_what_spiffe_asks_for() -> None:
    exported: Any = TrustBundle.of(ONE.roots, ACME, sequence=7, refresh_hint=300).to_value()
    (key,) = exported["keys"]
    assert (exported["spiffe_sequence"], exported["spiffe_refresh_hint"]) == (7, 300)
    assert {name: key[name] for name in ("use", "kty", "crv")} == {
        "use": "x509-svid",
        "kty": "EC",
        "crv": "P-256",
    }
    assert "kid" not in key
    (der,) = key["x5c"]
    assert base64.b64decode(der) == ONE.root.certificate.public_bytes(Encoding.DER)


def test_the_bundle_is_what_the_spiffe_library_reads_from_the_same_roots() -> None:
    """It parses no JWK Sets; the certificates are compared."""
    exported: Any = TrustBundle.of(ONE.roots, ACME).to_value()
    der = base64.b64decode(exported["keys"][0]["x5c"][0])
    theirs = X509Bundle.parse_raw(TrustDomain("acme"), der)
    assert theirs.x509_authorities == {ONE.root.certificate}


def test_roots_of_a_part_of_the_domain_or_of_another_are_not_exported() -> None:
    root = ONE.root.certificate
    for pattern, exported in (("acme", 1), ("...", 1), ("acme:$", 0), ("acme:prod", 0), ("other", 0)):
        bundle = TrustBundle.of(Roots((Root(root, Pattern.parse(pattern)),)), ACME)
        assert len(bundle.certificates) == exported


def test_imported_roots_prove_names_of_their_domain() -> None:
    imported = TrustBundle.parse(TrustBundle.of(ONE.roots, ACME).to_json(), ACME)
    assert verify_blessing(ONE.blessing, imported.roots, now=NOW) == ONE.blessing.presented


def test_a_leaf_directly_under_a_foreign_root_is_proven() -> None:
    key = Principal.create()
    root = foreign_root(key)
    bundle = TrustBundle.parse(TrustBundle(PARTNER, (root,)).to_json(), PARTNER)
    leaf = certificate(
        key, root.subject, Principal.create().public_key, usage=LEAF_USAGE, uris=("spiffe://partner/db",)
    )
    assert str(verify_blessing(Blessing((leaf,)), bundle.roots, now=NOW)) == "partner:db"


def test_attack_a_partners_root_that_names_one_of_ours() -> None:
    key = Principal.create()
    root = foreign_root(key)
    forged = certificate(
        key, root.subject, Principal.create().public_key, usage=LEAF_USAGE, uris=("spiffe://acme/web",)
    )
    roots = ONE.roots + TrustBundle(PARTNER, (root,)).roots
    with pytest.raises(VerificationError) as caught:
        verify_blessing(Blessing((forged,)), roots, now=NOW)
    assert caught.value.reason is Reason.ROOT_NOT_TRUSTED_FOR_NAME


def test_attack_our_root_in_a_partners_bundle() -> None:
    with pytest.raises(InvalidBundle, match="it is one of acme"):
        TrustBundle.parse(TrustBundle.of(ONE.roots, ACME).to_json(), PARTNER)


def test_keys_of_other_uses_are_left_out_and_those_of_jwts_kept() -> None:
    made = value()
    jwt = {"use": "jwt-svid", "kty": "EC", "kid": "k"}
    made["keys"] += [jwt, {"use": "future", "kty": "EC"}, {"kty": "EC"}]
    bundle = TrustBundle.from_value(made, ACME)
    assert len(bundle.certificates) == 1
    assert bundle.to_value()["keys"] == [made["keys"][0], jwt]


def test_an_ed25519_root_survives() -> None:
    root = Authority.create_root(ACME, Principal.create(KeyKind.ED25519), now=NOW, lifetime=YEAR)
    bundle = TrustBundle.of(Roots.of(root.certificate), ACME)
    assert TrustBundle.parse(bundle.to_json(), ACME) == bundle
    assert '"OKP"' in bundle.to_json()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"x5c": None}, "x5c"),
        ({"x5c": []}, "x5c"),
        ({"x5c": [7]}, "x5c"),
        ({"x5c": ["!"]}, "base64"),
        ({"x5c": ["AAAA"]}, "encoding"),
        ({"kty": "RSA"}, "kty"),
        ({"crv": "P-384"}, "crv"),
        ({"x": "AAAA"}, "x differs"),
        ({"y": None}, "y differs"),
    ],
)
def test_a_key_that_is_not_as_it_says_is_refused_with_its_place(
    changes: dict[str, object], where: str
) -> None:
    with pytest.raises(InvalidBundle, match=where) as caught:
        TrustBundle.from_value(value(**changes), ACME)
    assert "keys[0]" in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
    ],
    ids=["RSA", "P-384"],
)
def test_a_root_of_a_key_that_is_not_accepted_is_refused_at_import(key: Any) -> None:
    der = foreign_root(Principal.create(), key).public_bytes(Encoding.DER)
    with pytest.raises(InvalidBundle, match="subjectPublicKeyInfo"):
        TrustBundle.from_value(value(x5c=[base64.b64encode(der).decode()]), PARTNER)


def test_a_leaf_is_no_root() -> None:
    der = ONE.blessing.leaf.public_bytes(Encoding.DER)
    with pytest.raises(InvalidBundle, match="must be a root, it is a leaf"):
        TrustBundle.from_value(value(x5c=[base64.b64encode(der).decode()]), ACME)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"keys": {}}', '{"keys": [7]}', '{"keys": [], "spiffe_sequence": "1"}',
     '{"keys": [], "spiffe_sequence": true}', '{"keys": [], "spiffe_refresh_hint": -1}', "[" * 100_000],
)  # fmt: skip
def test_text_that_is_no_bundle_is_refused(text: str) -> None:
    with pytest.raises(InvalidBundle):
        TrustBundle.parse(text, ACME)


def test_a_bundle_has_limits() -> None:
    with pytest.raises(InvalidBundle, match="bytes"):
        TrustBundle.parse(" " * (1024 * 1024 + 1), ACME)
    with pytest.raises(InvalidBundle, match="one component"):
        TrustBundle(Name.parse("acme:web"), ())
