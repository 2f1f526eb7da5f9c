"""Bad input: each error names the certificate in the chain, and the field in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from blessings import (
    WITH_DELEGATION,
    Authority,
    Blessing,
    CannotBless,
    Expiry,
    InvalidCertificate,
    KeyKind,
    Name,
    Pattern,
    Policy,
    Principal,
    Reason,
    Root,
    Roots,
    UnacceptableKey,
    VerificationError,
    delegate,
    fingerprint,
    verify,
    verify_blessing,
)
from blessings.encoding import chains
from blessings.profile import reader, restrictions
from blessings.profile.fields import SIGNATURE_ALGORITHMS
from blessings.profile.names import name_of
from blessings.profile.restrictions import Restrictions
from tests.blessings.forging import LEAF_USAGE, SIGNER_USAGE, certificate, leaf_under, subject_of
from tests.chains import HOUR, NOW, YEAR, Realm, realm

ONE = realm()
LEAF_NAME = "acme:prod:shop:web:web-1"
SPIFFE_ID = Name.parse(LEAF_NAME).spiffe_id
CAVEATS = Restrictions(delegation=False, caveats=(Expiry(NOW + HOUR),)).to_extension().value
DELEGATION = Restrictions(delegation=True, caveats=()).to_extension().value
NO_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
DAY = timedelta(days=1)


def refusal(
    blessing: Blessing, one: Realm = ONE, policy: Policy = WITH_DELEGATION, roots: Roots | None = None
) -> tuple[Reason, int | None, str | None]:
    """Reason, certificate and field; the message and the Rejection say the same."""
    recognised = one.roots if roots is None else roots
    with pytest.raises(VerificationError) as caught:
        verify_blessing(blessing, recognised, now=NOW, policy=policy)
    error = caught.value
    (rejected,) = verify([blessing], recognised, now=NOW, policy=policy).rejected
    where = (error.reason, error.certificate, error.field)
    assert (rejected.reason, rejected.certificate, rejected.field) == where
    if error.certificate is not None:
        assert f"certificate {error.certificate}" in str(error)
    if error.field is not None:
        assert error.field in str(error)
    assert rejected.message == str(error)
    return where


def leaf(**changes: object) -> Blessing:
    """The replica's certificate once more, by the application's key, but for `changes`."""
    fields: dict[str, object] = {"usage": LEAF_USAGE, "uris": (SPIFFE_ID,), **changes}
    key = fields.pop("key", ONE.replica.public_key)
    made = certificate(ONE.application.principal, ONE.application.certificate.subject, key, **fields)  # type: ignore[arg-type]
    return Blessing((made, *ONE.application.blessing.certificates))


def application(**changes: object) -> Blessing:
    """The application's certificate once more, by the root's key, but for `changes`, with the leaf below."""
    fields: dict[str, object] = {
        "subject": ONE.application.certificate.subject,
        "ca": True,
        "usage": SIGNER_USAGE,
        "uris": ("spiffe://acme",),
        "end": NOW + DAY,
        "begin": NOW - timedelta(seconds=60),
        **changes,
    }
    key = fields.pop("key", ONE.application.principal.public_key)
    made = certificate(ONE.root.principal, ONE.root.certificate.subject, key, **fields)  # type: ignore[arg-type]
    return Blessing((ONE.blessing.leaf, made))


def test_what_the_forger_makes_unchanged_is_accepted() -> None:
    for blessing in (leaf(), application()):
        assert str(verify_blessing(blessing, ONE.roots, now=NOW)) == LEAF_NAME


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ca": None}, "basicConstraints"),
        ({"usage": None}, "keyUsage"),
        ({"usage": SIGNER_USAGE}, "keyUsage"),
        ({"usage": NO_USAGE}, "keyUsage"),
        ({"uris": ()}, "subjectAltName"),
        ({"uris": (SPIFFE_ID, SPIFFE_ID + "2")}, "subjectAltName"),
        ({"uris": ("spiffe://acme/" + "x" * 254,)}, "subjectAltName"),
        ({"uris": ("spiffe://acme/" + "/".join(["x" * 250] * 9),)}, "subjectAltName"),
        ({"uris": ("spiffe://acme",)}, "subjectAltName"),
        ({"uris": ("spiffe://acme/%41",)}, "subjectAltName"),
        ({"hash_algorithm": hashes.SHA384()}, "signatureAlgorithm"),
        ({"extra": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),)}, "extKeyUsage"),
        ({"restrictions": CAVEATS}, "subjectAltName"),
        ({"restrictions": DELEGATION}, "subjectAltName"),
        ({"restrictions": CAVEATS, "critical": False}, "restrictions"),
        ({"restrictions": b"\x0c\x02{}"}, "restrictions"),
        ({"restrictions": b"\x05\x00"}, "restrictions"),
        ({"restrictions": CAVEATS, "uris": ()}, "subject"),
        ({"restrictions": CAVEATS, "uris": (), "subject": subject_of("acme")}, "subject"),
        ({"restrictions": CAVEATS, "uris": (), "subject": subject_of("acme:a b")}, "subject"),
        ({"restrictions": CAVEATS, "uris": (), "subject": subject_of("acme:" + "x" * 254)}, "subject"),
        ({"restrictions": DELEGATION, "uris": (), "ca": True}, "basicConstraints"),
        ({"begin": NOW, "end": NOW}, "validity"),
    ],
)  # fmt: skip
def test_a_malformed_leaf_is_named_with_its_field(changes: dict[str, object], field: str) -> None:
    assert refusal(leaf(**changes)) == (Reason.MALFORMED, 0, field)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ca": None}, "basicConstraints"),
        ({"usage": LEAF_USAGE}, "keyUsage"),
        ({"uris": ()}, "subjectAltName"),
        ({"uris": ("spiffe://acme/prod/shop/web",)}, "subjectAltName"),
        ({"uris": ("spiffe://other",)}, "subjectAltName"),
        ({"subject": x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme")])}, "subject"),
        ({"subject": x509.Name([])}, "subject"),
        ({"subject": subject_of("acme:" + "x" * 254)}, "subject"),
        (
            {
                "subject": x509.Name(
                    [
                        x509.RelativeDistinguishedName(
                            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, one) for one in ("acme", "web")
                        )
                    ]
                )
            },
            "subject",
        ),
    ],
)
def test_a_malformed_signing_certificate_is_named_with_its_field(
    changes: dict[str, object], field: str
) -> None:
    assert refusal(application(**changes)) == (Reason.MALFORMED, 1, field)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP192R1()).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
    ],
    ids=["P-192", "P-384", "RSA"],
)
def test_a_key_that_is_not_accepted_is_named_with_its_certificate(key: object) -> None:
    assert refusal(leaf(key=key)) == (Reason.WEAK_KEY, 0, "subjectPublicKeyInfo")
    assert refusal(application(key=key)) == (Reason.WEAK_KEY, 1, "subjectPublicKeyInfo")


def test_a_key_that_cannot_be_read_is_named() -> None:
    der = bytearray(ONE.blessing.leaf.public_bytes(Encoding.DER))
    point = der.index(b"\x03\x42\x00\x04") + 3
    der[point] = 5
    forged = Blessing((x509.load_der_x509_certificate(bytes(der)), *ONE.blessing.certificates[1:]))
    assert refusal(forged) == (Reason.WEAK_KEY, 0, "subjectPublicKeyInfo")


def test_ed25519_is_refused_where_the_policy_says_so() -> None:
    blessing = leaf(key=Principal.create(KeyKind.ED25519).public_key)
    verify_blessing(blessing, ONE.roots, now=NOW)
    strict = Policy(key_kinds=frozenset({KeyKind.P256}))
    assert refusal(blessing, policy=strict) == (Reason.KEY_NOT_ACCEPTED, 0, "subjectPublicKeyInfo")


def test_a_duplicate_extension_is_named() -> None:
    """No builder makes one: the key usage's identifier becomes that of the basic constraints."""
    usage, constraints = bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d13")
    der = ONE.blessing.leaf.public_bytes(Encoding.DER).replace(usage, constraints)
    forged = Blessing((x509.load_der_x509_certificate(der), *ONE.blessing.certificates[1:]))
    assert refusal(forged) == (Reason.MALFORMED, 0, "extensions")


def test_an_extension_that_cannot_be_read_is_named() -> None:
    der = bytearray(ONE.blessing.leaf.public_bytes(Encoding.DER))
    der[der.index(bytes.fromhex("0603551d0f")) + 10] = 0x30
    forged = Blessing((x509.load_der_x509_certificate(bytes(der)), *ONE.blessing.certificates[1:]))
    assert refusal(forged) == (Reason.MALFORMED, 0, "extensions")


def changed(certificate: x509.Certificate, place: int, old: bytes, new: bytes) -> x509.Certificate:
    """With the bytes at the `place`th occurrence of `old` changed, in the DER."""
    der, at = certificate.public_bytes(Encoding.DER), -1
    for _ in range(place + 1):
        at = der.index(old, at + 1)
    return x509.load_der_x509_certificate(der[:at] + new + der[at + len(old) :])


@pytest.mark.parametrize("new", [b"\x16\x04acm\xe9", b"\x03\x04\x00cme"])
def test_a_name_in_a_wrong_encoding_is_named(new: bytes) -> None:
    """An IA5String (type 0x16) with a byte that is none of its characters, or another type (a BIT STRING)."""
    old = b"\x16\x04acme"
    leaf_certificate, application_certificate = ONE.blessing.certificates
    of_issuer = Blessing((changed(leaf_certificate, 0, old, new), application_certificate))
    assert refusal(of_issuer) == (Reason.ISSUER_MISMATCH, 0, "issuer")
    of_last = Blessing((leaf_certificate, changed(application_certificate, 0, old, new)))
    assert refusal(of_last) == (Reason.UNRECOGNISED_ROOT, 1, "issuer")
    of_subject = Blessing((leaf_certificate, changed(application_certificate, 1, old, new)))
    assert refusal(of_subject) == (Reason.MALFORMED, 1, "subject")


def test_a_signature_that_is_not_whole_bytes_is_named() -> None:
    """Some parsers ignore the number of unused bits; the chain would have another spelling."""
    made = leaf().leaf
    while made.signature[-1] & 1:  # a bit that is said to be unused must be 0
        made = leaf().leaf
    signature = made.signature
    whole = bytes([len(signature) + 1, 0]) + signature
    spelled = changed(made, 0, whole, whole[:1] + b"\x01" + whole[2:])
    forged = Blessing((spelled, *ONE.blessing.certificates[1:]))
    assert refusal(forged) == (Reason.MALFORMED, 0, "signatureValue")


def test_two_signature_algorithms_in_one_certificate_are_named() -> None:
    ecdsa, ed25519 = (SIGNATURE_ALGORITHMS[kind] for kind in KeyKind)
    other = changed(ONE.blessing.leaf, 0, ecdsa, ecdsa[:-1] + b"\x03")
    forged = Blessing((other, *ONE.blessing.certificates[1:]))
    assert refusal(forged) == (Reason.MALFORMED, 0, "signature")
    assert ed25519 != ecdsa


def test_attack_a_key_that_signs_by_another_algorithm_than_its_own() -> None:
    by_ed25519 = certificate(
        Principal.create(KeyKind.ED25519),
        ONE.application.certificate.subject,
        ONE.replica.public_key,
        usage=LEAF_USAGE,
        uris=(SPIFFE_ID,),
    )
    forged = Blessing((by_ed25519, *ONE.application.blessing.certificates))
    assert refusal(forged) == (Reason.BAD_SIGNATURE, 0, "signatureValue")


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_serial_number_that_is_not_positive_is_named() -> None:
    serial = ONE.blessing.leaf.serial_number
    body = serial.to_bytes((serial.bit_length() + 8) // 8, "big")
    field = b"\x02" + bytes([len(body)])
    negative = changed(ONE.blessing.leaf, 0, field + body, field + b"\x80" + body[1:-1] + b"\x01")
    forged = Blessing((negative, *ONE.blessing.certificates[1:]))
    assert refusal(forged) == (Reason.MALFORMED, 0, "serialNumber")


def test_an_unknown_critical_extension_is_named() -> None:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("2.25.1"), b"\x05\x00")
    assert refusal(leaf(extra=(unknown,))) == (Reason.UNKNOWN_CRITICAL_EXTENSION, 0, "extensions")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"begin": NOW - 31 * DAY, "end": NOW + HOUR}, "notBefore"),
        ({"begin": NOW, "end": NOW + 31 * DAY}, "notAfter"),
    ],
)
def test_times_that_do_not_nest_are_named(changes: dict[str, object], field: str) -> None:
    assert refusal(leaf(**changes)) == (Reason.TIMES_DO_NOT_NEST, 0, field)


def test_an_application_outside_of_its_roots_time_is_named() -> None:
    assert refusal(application(end=NOW + 2 * YEAR)) == (Reason.TIMES_DO_NOT_NEST, 1, "notAfter")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"begin": NOW + HOUR / 2}, (Reason.NOT_YET_VALID, 0, "notBefore")),
        ({"begin": NOW - HOUR, "end": NOW}, (Reason.EXPIRED, 0, "notAfter")),
    ],
)
def test_a_time_that_is_not_now_is_named(changes: dict[str, object], expected: object) -> None:
    assert refusal(leaf(**changes)) == expected


def test_a_reordered_chain_says_which_certificate_belongs_where() -> None:
    delegated = ONE.delegated("phone", "watch")[1].certificates
    swapped = (delegated[0], delegated[2], delegated[1], *delegated[3:])
    assert refusal(Blessing(swapped)) == (Reason.OUT_OF_ORDER, 0, "issuer")
    assert refusal(Blessing(delegated[::-1])) == (Reason.OUT_OF_ORDER, 1, "issuer")


def test_a_chain_with_a_gap_is_named_at_the_gap() -> None:
    delegated = ONE.delegated("phone", "watch")[1].certificates
    assert refusal(Blessing((delegated[0], *delegated[2:]))) == (Reason.ISSUER_MISMATCH, 0, "issuer")


def test_a_certificate_that_is_there_twice_is_named() -> None:
    leaf_certificate, application_certificate = ONE.blessing.certificates
    again = Blessing((leaf_certificate, application_certificate, application_certificate))
    assert refusal(again) == (Reason.CYCLIC, 2, None)


def test_a_chain_that_ends_in_a_circle_is_said_to() -> None:
    """Each link is signed, names extend, and the last one says that the one below issued it."""
    one, two = Principal.create(), Principal.create()
    upper_name, lower_name = subject_of("acme:a"), subject_of("acme:a:b")
    signer: dict[str, object] = {"ca": True, "usage": SIGNER_USAGE, "uris": ("spiffe://acme",)}
    upper = certificate(two, lower_name, one.public_key, subject=upper_name, **signer)  # type: ignore[arg-type]
    lower = certificate(one, upper_name, two.public_key, subject=lower_name, **signer)  # type: ignore[arg-type]
    made = leaf_under(two, Blessing((lower,)), "acme:a:b:x")
    assert refusal(Blessing((made.leaf, lower, upper))) == (Reason.CYCLIC, 2, "issuer")


def test_an_unknown_root_in_the_chain_is_named() -> None:
    other = realm()
    whole = Blessing((*other.blessing.certificates, other.root.certificate))
    assert refusal(whole) == (Reason.UNRECOGNISED_ROOT, 2, "issuer")
    assert refusal(other.blessing) == (Reason.UNRECOGNISED_ROOT, 1, "issuer")


def test_a_root_of_a_kind_or_form_that_is_not_accepted_is_named_after_the_chain() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    subject = subject_of("acme")
    weak = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + HOUR)
        .sign(key, hashes.SHA256())
    )
    sans = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://acme/web")])
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(subject)
        .public_key(Principal.create().public_key)
        .serial_number(2)
        .not_valid_before(NOW)
        .not_valid_after(NOW + HOUR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(LEAF_USAGE, critical=True)
        .add_extension(sans, critical=False)
        .sign(key, hashes.SHA256())
    )
    roots = Roots((Root(weak, Pattern.parse("acme")),))
    assert refusal(Blessing((made,)), roots=roots) == (Reason.WEAK_KEY, 1, "subjectPublicKeyInfo")


def test_a_leaf_as_root_signs_nobody() -> None:
    roots = Roots((Root(ONE.blessing.leaf, Pattern.parse("acme")),))
    forged = leaf_under(ONE.replica, ONE.blessing, LEAF_NAME + ":x")
    assert refusal(Blessing((forged.leaf,)), roots=roots) == (Reason.NOT_AN_AUTHORITY, 1, "basicConstraints")


def root_like(begin: timedelta, end: timedelta, path_length: int | None = None) -> x509.Certificate:
    """A certificate of the root's name and key."""
    return certificate(
        ONE.root.principal,
        ONE.root.certificate.subject,
        ONE.root.principal.public_key,
        subject=ONE.root.certificate.subject,
        ca=True,
        path_length=path_length,
        usage=SIGNER_USAGE,
        uris=("spiffe://acme",),
        begin=NOW + begin,
        end=NOW + end,
    )


def test_a_root_without_room_for_an_application_is_named() -> None:
    root = root_like(-DAY, YEAR, path_length=0)
    assert refusal(ONE.blessing, roots=Roots.of(root)) == (Reason.PATH_TOO_LONG, 2, "pathLenConstraint")


def test_of_two_roots_of_one_key_the_one_that_is_valid_now_counts() -> None:
    past, future = root_like(-2 * DAY, -DAY), root_like(DAY, 2 * DAY)
    assert refusal(ONE.blessing, roots=Roots.of(past, future)) == (Reason.EXPIRED, 2, "notAfter")
    both = Roots.of(past, future, ONE.root.certificate)
    assert str(verify_blessing(ONE.blessing, both, now=NOW)) == LEAF_NAME


def test_of_two_roots_of_one_key_the_one_with_room_counts_in_any_order() -> None:
    narrow = root_like(-DAY, YEAR, path_length=0)
    both = [Root(one, Pattern.parse("acme")) for one in (narrow, ONE.root.certificate)]
    for entries in (both, both[::-1]):
        assert str(verify_blessing(ONE.blessing, Roots(tuple(entries)), now=NOW)) == LEAF_NAME
    assert refusal(ONE.blessing, roots=Roots((both[0],)))[0] is Reason.PATH_TOO_LONG


def test_a_broken_pem_or_der_certificate_is_named_by_its_place() -> None:
    leaf_pem, application_pem = (chains.to_pem([one]) for one in ONE.blessing.certificates)
    broken = application_pem.replace("MII", "AII", 1)
    with pytest.raises(InvalidCertificate, match="certificate 1, encoding") as caught:
        Blessing.from_pem(leaf_pem + broken)
    assert (caught.value.certificate, caught.value.field) == (1, "encoding")
    der = ONE.blessing.to_der()
    first = len(ONE.blessing.leaf.public_bytes(Encoding.DER))
    heads = (b"\x30\x80", b"\x31\x00", b"\x30\x02\x05\x00", b"\x30\x85\x01\x01\x01\x01\x01")
    for cut in (der[:-1], der[: first + 1], *(der[:first] + head for head in heads)):
        with pytest.raises(InvalidCertificate) as caught:
            Blessing.from_der(cut)
        assert (caught.value.certificate, caught.value.field) == (1, "encoding")
    with pytest.raises(InvalidCertificate, match="empty"):
        Blessing.from_der(b"")


def test_a_certificate_of_an_unknown_version_is_refused() -> None:
    der = ONE.blessing.leaf.public_bytes(Encoding.DER).replace(
        b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1
    )
    with pytest.raises(InvalidCertificate):
        Blessing.from_der(der)
    with pytest.raises(InvalidCertificate):
        chains.parse_der(der)


def test_every_field_of_a_certificate_outside_of_the_profile_stops_a_blesser_too() -> None:
    malformed = leaf(ca=None)
    with pytest.raises(CannotBless, match="basicConstraints"):
        Authority(ONE.replica, malformed)


def test_name_and_role_of_a_foreign_root_are_its_own_affair() -> None:
    foreign = certificate(
        ONE.root.principal,
        x509.Name([]),
        ONE.root.principal.public_key,
        subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SPIRE")]),
        ca=True,
        usage=SIGNER_USAGE,
    )
    assert not isinstance(reader.read_root(foreign), reader.NamedFacts)
    with pytest.raises(InvalidCertificate, match="subject"):
        name_of(foreign)
    with pytest.raises(InvalidCertificate, match="subject"):
        reader.read(foreign)


@pytest.mark.parametrize("length", [1, 0x7F, 0x80, 0xFF, 0x100, 0x3FFF])
def test_the_extension_is_read_at_each_length_of_its_length(length: int) -> None:
    wrapped = restrictions._wrap(b"x" * length)
    assert restrictions._unwrap(wrapped) == b"x" * length


@pytest.mark.parametrize(
    "limits", [{"max_chain_length": 17}, {"max_chain_length": 0}, {"max_delegations": -1}]
)
def test_policies_have_limits(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_"):
        Policy(**limits)  # type: ignore[arg-type]


def test_a_shorter_limit_of_the_policy_counts() -> None:
    assert refusal(ONE.blessing, policy=Policy(max_chain_length=1))[0] is Reason.CHAIN_TOO_LONG


def test_errors_without_a_place_say_only_what_is_wrong() -> None:
    assert str(InvalidCertificate("it is empty")) == "it is empty"
    assert isinstance(UnacceptableKey("weak", field="subjectPublicKeyInfo").at(3), UnacceptableKey)


def test_a_fingerprint_is_spelled_as_identify_prints_it() -> None:
    for kind in KeyKind:
        spelled = fingerprint(Principal.create(kind).public_key)
        assert len(spelled) == 32 * 3 - 1
        assert bytes.fromhex(spelled.replace(":", ""))


def in_year_0() -> x509.Certificate:
    """A leaf whose time DER can spell, and Python cannot; its signature is of other bytes."""
    der = leaf(
        begin=datetime(2050, 1, 1, tzinfo=UTC), end=datetime(2051, 1, 1, tzinfo=UTC)
    ).leaf.public_bytes(Encoding.DER)
    return x509.load_der_x509_certificate(der.replace(b"20500101000000Z", b"00000101000000Z"))


def test_a_year_that_there_is_not_is_refused_with_its_field() -> None:
    blessing = Blessing((in_year_0(), *ONE.application.blessing.certificates))
    assert refusal(blessing) == (Reason.MALFORMED, 0, "validity")
    with pytest.raises(InvalidCertificate, match="validity"):
        _ = blessing.not_after


def test_a_chain_with_a_year_that_there_is_not_blesses_nobody() -> None:
    damaged = Blessing((ONE.blessing.leaf, in_year_0()))
    with pytest.raises(CannotBless, match="validity"):
        delegate(ONE.replica, damaged, Principal.create().public_key, "x", now=NOW, lifetime=HOUR)


def test_text_with_half_of_a_surrogate_pair_is_no_pem() -> None:
    with pytest.raises(InvalidCertificate, match="no PEM"):
        Blessing.from_pem("\ud800")
