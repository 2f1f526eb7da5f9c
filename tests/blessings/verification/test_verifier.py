"""What a chain proves, and the reason for each chain that proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from blessings import (
    Authority,
    Blessing,
    CannotBless,
    InvalidCertificate,
    Name,
    Pattern,
    Principal,
    PublicKey,
    Reason,
    Root,
    Roots,
    VerificationError,
    fingerprint,
    keys,
    verify,
    verify_blessing,
)
from tests.blessings.forging import leaf_under, signing_under
from tests.chains import HOUR, NOW, YEAR, Realm, realm


def rejection(blessing: Blessing, roots: Roots, now: datetime = NOW) -> Reason:
    """The reason of a chain that must be rejected."""
    with pytest.raises(VerificationError) as caught:
        verify_blessing(blessing, roots, now=now)
    return caught.value.reason


def test_a_chain_proves_the_name_of_its_leaf() -> None:
    one = realm()
    assert str(verify_blessing(one.blessing, one.roots, now=NOW)) == "acme:prod:shop:web:web-1"


def test_a_chain_with_its_root_proves_the_same() -> None:
    one = realm()
    whole = Blessing((*one.blessing.certificates, one.root.certificate))
    assert verify_blessing(whole, one.roots, now=NOW) == one.blessing.presented


def test_names_too_long_for_a_common_name_are_proven_whole() -> None:
    one = realm(application=":".join(["n" * 63, "s" * 253]), replica="p" * 253)
    assert str(verify_blessing(one.blessing, one.roots, now=NOW)).endswith(":" + "p" * 253)


def test_what_does_not_hold_is_dropped_with_a_reason_and_the_rest_stays() -> None:
    one, other = realm(), realm("other")
    verdict = verify([one.blessing, other.blessing], one.roots, now=NOW)
    assert [str(name) for name in verdict.valid] == ["acme:prod:shop:web:web-1"]
    ((rejected),) = verdict.rejected
    assert rejected.reason is Reason.UNRECOGNISED_ROOT
    assert str(rejected.presented) == "other:prod:shop:web:web-1"


def test_a_chain_holds_from_its_backdated_begin_until_its_end() -> None:
    one = realm()
    begin, end = NOW - timedelta(seconds=60), NOW + HOUR
    assert rejection(one.blessing, one.roots, begin - timedelta(seconds=1)) is Reason.NOT_YET_VALID
    verify_blessing(one.blessing, one.roots, now=begin)
    verify_blessing(one.blessing, one.roots, now=end - timedelta(seconds=1))
    assert rejection(one.blessing, one.roots, end) is Reason.EXPIRED


def test_an_application_that_is_recognised_as_a_root_proves_its_replicas() -> None:
    one = realm()
    roots = Roots.of(one.application.certificate)
    assert verify_blessing(one.blessing, roots, now=NOW) == one.blessing.presented
    assert roots.entries[0].facts.key_fingerprint == fingerprint(one.application.principal.public_key)


def test_an_expired_root_proves_nothing() -> None:
    root = Authority.create_root(Name.parse("acme"), Principal.create(), now=NOW, lifetime=HOUR)
    blessing = root.bless(Principal.create().public_key, "web", now=NOW, lifetime=HOUR)
    assert rejection(blessing, Roots.of(root.certificate), NOW + HOUR) is Reason.EXPIRED


def test_attack_another_root_of_the_same_name() -> None:
    one, imposter = realm(), realm()
    assert rejection(imposter.blessing, one.roots) is Reason.UNRECOGNISED_ROOT


def test_attack_a_recognised_root_outside_of_its_pattern() -> None:
    one = realm()
    narrow = Roots((Root(one.root.certificate, Pattern.parse("acme:test")),))
    assert rejection(one.blessing, narrow) is Reason.ROOT_NOT_TRUSTED_FOR_NAME


def test_attack_a_replica_that_signs_others() -> None:
    one = realm()
    forged = leaf_under(one.replica, one.blessing, "acme:prod:shop:web:web-1:web-2")
    assert rejection(forged, one.roots) is Reason.NOT_AN_AUTHORITY


def test_attack_an_application_that_signs_a_name_outside_of_its_own() -> None:
    one = realm()
    forged = leaf_under(one.application.principal, one.application.blessing, "acme:prod:shop:admin:admin-1")
    assert rejection(forged, one.roots) is Reason.NAME_NOT_EXTENDED


def test_attack_an_application_whose_name_is_only_a_prefix_in_letters() -> None:
    one = realm()
    forged = leaf_under(one.application.principal, one.application.blessing, "acme:prod:shop:website:x-1")
    assert rejection(forged, one.roots) is Reason.NAME_NOT_EXTENDED


def test_attack_a_signing_certificate_as_identity() -> None:
    one = realm()
    assert rejection(one.application.blessing, one.roots) is Reason.NOT_A_LEAF
    assert rejection(one.root.blessing, one.roots) is Reason.NOT_A_LEAF


def test_attack_more_signing_certificates_than_the_path_length_allows() -> None:
    one = realm()
    agent = Principal.create()
    deeper = signing_under(one.application, agent, "acme:prod:shop:web:deep")
    forged = leaf_under(agent, deeper, "acme:prod:shop:web:deep:x")
    assert rejection(forged, one.roots) is Reason.PATH_TOO_LONG


def test_attack_a_changed_byte_in_the_signature() -> None:
    one = realm()
    der = bytearray(one.blessing.leaf.public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = Blessing((x509.load_der_x509_certificate(bytes(der)), *one.blessing.certificates[1:]))
    assert rejection(forged, one.roots) is Reason.BAD_SIGNATURE


def test_attack_certificates_in_another_order() -> None:
    one = realm()
    assert rejection(Blessing(one.blessing.certificates[::-1]), one.roots) is Reason.OUT_OF_ORDER


def test_attack_an_endless_chain() -> None:
    one = realm()
    long = Blessing((*one.blessing.certificates[:1], *one.blessing.certificates[1:] * 20))
    assert rejection(long, one.roots) is Reason.CHAIN_TOO_LONG


def test_an_unknown_critical_extension_is_refused() -> None:
    one = realm()
    critical = x509.UnrecognizedExtension(ObjectIdentifier("2.25.1"), b"\x05\x00")
    forged = leaf_under(
        one.application.principal, one.application.blessing, "acme:prod:shop:web:web-1", critical
    )
    assert rejection(forged, one.roots) is Reason.UNKNOWN_CRITICAL_EXTENSION


def test_a_weak_key_is_refused() -> None:
    one = realm()
    key = ec.generate_private_key(ec.SECP192R1())
    forged = leaf_under(
        one.application.principal, one.application.blessing, "acme:prod:shop:web:web-1", key=key.public_key()
    )
    assert rejection(forged, one.roots) is Reason.WEAK_KEY


@pytest.mark.parametrize(
    "sans",
    [
        [],
        ["spiffe://acme/prod/shop/web/a", "spiffe://acme/prod/shop/web/b"],
        ["https://acme/prod/shop/web/a"],
        ["spiffe://acme"],
    ],
)
def test_a_leaf_without_exactly_one_spiffe_id_with_a_path_is_malformed(sans: list[str]) -> None:
    one = realm()
    forged = leaf_under(one.application.principal, one.application.blessing, None, sans=sans)
    assert rejection(forged, one.roots) is Reason.MALFORMED


def test_a_leaf_never_outlives_its_issuer() -> None:
    one = realm()
    blessing = one.application.bless(Principal.create().public_key, "web-2", now=NOW, lifetime=YEAR)
    assert blessing.leaf.not_valid_after_utc == one.application.certificate.not_valid_after_utc


def test_an_expired_issuer_never_signs() -> None:
    one = realm()
    with pytest.raises(CannotBless, match="expired at"):
        one.application.bless(
            Principal.create().public_key, "web-2", now=NOW + 31 * timedelta(days=1), lifetime=HOUR
        )


@pytest.mark.parametrize(
    "attempt",
    [
        lambda one: Authority(Principal.create(), one.application.blessing),
        lambda one: Authority(one.replica, one.blessing),
        lambda one: one.application.grant(Principal.create().public_key, "deeper", now=NOW, lifetime=HOUR),
        lambda one: one.application.bless(
            one.application.principal.public_key, "self", now=NOW, lifetime=HOUR
        ),
    ],
    ids=["another key's certificate", "a leaf", "beyond the path length", "its own key"],
)
def test_an_authority_refuses_what_no_verifier_would_accept(attempt: Callable[[Realm], object]) -> None:
    with pytest.raises(CannotBless):
        attempt(realm())


def test_pem_that_is_none_is_refused() -> None:
    for pem in ("", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(InvalidCertificate):
            Blessing.from_pem(pem)


def test_roots_survive_their_json_form() -> None:
    roots = Roots((Root(realm().root.certificate, Pattern.parse("acme:prod")),))
    assert Roots.from_json(roots.to_json()) == roots


def test_each_signature_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = realm()
    checked: list[bytes] = []
    is_signed = keys.is_signed

    def counted(key: PublicKey, message: bytes, signature: bytes) -> bool:
        checked.append(signature)
        return is_signed(key, message, signature)

    monkeypatch.setattr(keys, "is_signed", counted)
    verify_blessing(Blessing.from_der(one.blessing.to_der()), one.roots, now=NOW)
    assert checked == [certificate.signature for certificate in one.blessing.certificates]


def test_an_applications_certificate_is_read_once_for_all_its_replicas() -> None:
    one = realm()
    other = one.application.bless(Principal.create().public_key, "web-2", now=NOW, lifetime=HOUR)
    first, second = (Blessing.from_der(blessing.to_der()) for blessing in (one.blessing, other))
    assert first.facts(1) is second.facts(1)
    assert first.facts(0) is not second.facts(0)
