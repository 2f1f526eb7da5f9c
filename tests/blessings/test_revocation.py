"""Revocation lists: who believes which, and that openssl agrees."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from blessings import (
    Authority,
    InvalidRevocationList,
    Name,
    Policy,
    Principal,
    PublicKey,
    Reason,
    RevocationList,
    RevocationLists,
    VerificationError,
    WithoutList,
    verify_blessing,
)
from tests.chains import HOUR, NOW, Realm, realm

REALM = realm()
SERIAL = REALM.blessing.leaf.serial_number


def listed(
    *serials: int,
    number: int = 1,
    at: datetime = NOW,
    of: Realm = REALM,
    by: Authority | None = None,
) -> RevocationList:
    authority = by or of.application
    return RevocationList.sign(
        authority.name,
        authority.principal.signing_key,
        dict.fromkeys(serials, at),
        number=number,
        this_update=at,
        lifetime=HOUR / 2,
    )


def judged(
    *lists: RevocationList,
    now: datetime = NOW,
    without: WithoutList = WithoutList.REFUSE,
    max_delegations: int = 0,
) -> Reason | None:
    policy = Policy(revocation=RevocationLists(lists), without_list=without, max_delegations=max_delegations)
    try:
        verify_blessing(REALM.blessing, REALM.roots, now=now, policy=policy)
    except VerificationError as error:
        return error.reason
    return None


def test_a_certificate_on_its_issuers_list_is_refused_and_others_are_not() -> None:
    assert judged(listed(SERIAL)) is Reason.REVOKED
    assert judged(listed(SERIAL + 1)) is None
    assert judged(listed()) is None


def test_without_a_list_the_policy_decides() -> None:
    assert judged() is Reason.REVOCATION_UNKNOWN
    assert judged(without=WithoutList.ACCEPT) is None


def test_a_list_whose_time_is_over_says_only_who_is_revoked() -> None:
    later = NOW + HOUR / 2
    assert judged(listed(), now=later) is Reason.REVOCATION_UNKNOWN
    assert judged(listed(), now=later, without=WithoutList.ACCEPT) is None
    assert judged(listed(SERIAL), now=later, without=WithoutList.ACCEPT) is Reason.REVOKED


def test_a_list_of_the_future_says_nothing_yet() -> None:
    assert judged(listed(at=NOW + timedelta(minutes=2))) is Reason.REVOCATION_UNKNOWN


def test_attack_a_list_that_another_key_signed_is_not_believed() -> None:
    forged = Authority.create_root(Name.parse("acme"), Principal.create(), now=NOW, lifetime=HOUR)
    stranger = RevocationList.sign(
        REALM.application.name,
        forged.principal.signing_key,
        {SERIAL: NOW},
        number=9,
        this_update=NOW,
        lifetime=HOUR,
    )
    assert judged(stranger, without=WithoutList.ACCEPT) is None, "it would revoke whom it likes"
    assert judged(stranger) is Reason.REVOCATION_UNKNOWN, "it would hide a revocation"
    assert judged(stranger, listed(SERIAL)) is Reason.REVOKED


def test_attack_the_list_of_another_application_of_the_same_key_is_not_believed() -> None:
    root, key = REALM.root, REALM.application.principal
    other = Authority(key, root.grant(key.public_key, "prod:shop:db", now=NOW, lifetime=HOUR))
    assert judged(listed(by=other)) is Reason.REVOCATION_UNKNOWN
    assert judged(listed(SERIAL, by=other), without=WithoutList.ACCEPT) is None


def test_a_root_may_revoke_an_application() -> None:
    application = REALM.application.certificate.serial_number
    assert judged(listed(application, by=REALM.root), without=WithoutList.ACCEPT) is Reason.REVOKED


def test_a_delegate_falls_with_the_leaf_that_blessed_it() -> None:
    _, delegated = REALM.delegated("phone")
    policy = Policy(
        max_delegations=1,
        revocation=RevocationLists((listed(SERIAL),)),
        without_list=WithoutList.REFUSE,
    )
    with pytest.raises(VerificationError) as caught:
        verify_blessing(delegated, REALM.roots, now=NOW, policy=policy)
    assert (caught.value.reason, caught.value.certificate) == (Reason.REVOKED, 1)


def test_a_list_survives_its_encoding_and_lists_many() -> None:
    many = listed(*range(1, 5001), number=7)
    again = RevocationList.from_der(many.to_der())
    assert again.number == 7
    assert len(again.serials) == 5000
    assert again.next_update == NOW + HOUR / 2


def test_of_one_issuer_the_newest_list_is_kept_and_none_that_is_over() -> None:
    old, new = listed(SERIAL, number=1), listed(number=2)
    other = listed(of=realm("other"))
    merged = RevocationLists((new,)).merged(RevocationLists((old, other)), NOW)
    assert set(merged.entries) == {new, other}
    assert merged.merged(RevocationLists(), NOW + HOUR).entries == ()


def _unsuitable(change: str) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(REALM.application.certificate.subject)
        .last_update(NOW)
        .next_update(NOW + HOUR)
    )
    if change != "no number":
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
    if change == "delta":
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    if change == "partial":
        point = x509.IssuingDistributionPoint(
            full_name=None,
            relative_name=None,
            only_contains_user_certs=False,
            only_contains_ca_certs=True,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        )
        builder = builder.add_extension(point, critical=True)
    key = REALM.application.principal.signing_key
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("change", "said"), [("no number", "number"), ("delta", "critical"), ("partial", "critical")]
)
def test_a_list_that_could_be_taken_for_more_than_it_is_is_refused(change: str, said: str) -> None:
    with pytest.raises(InvalidRevocationList, match=said):
        RevocationList.from_der(_unsuitable(change))


def _of_unknown_version() -> bytes:
    der = _unsuitable("no number")
    at = der.index(b"\x02\x01\x01")  # version 2, which has no other than this
    return der[: at + 2] + b"\x05" + der[at + 3 :]


@pytest.mark.parametrize(
    "der", [b"", b"\x30\x00", b"no list", REALM.blessing.to_der(), _of_unknown_version()]
)
def test_what_is_no_list_is_said_to_be_none(der: bytes) -> None:
    with pytest.raises(InvalidRevocationList):
        RevocationList.from_der(der)


@pytest.mark.parametrize(("revoked", "verdict"), [(False, "OK"), (True, "certificate revoked")])
def test_openssl_agrees(tmp_path: Path, revoked: bool, verdict: str) -> None:
    crl = listed(*([SERIAL] if revoked else [])).crl
    files = {
        "root.pem": REALM.root.blessing.to_pem().encode(),
        "application.pem": REALM.application.blessing.to_pem().encode(),
        "leaf.pem": REALM.blessing.leaf.public_bytes(Encoding.PEM),
        "crl.pem": crl.public_bytes(Encoding.PEM),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [
        "openssl", "verify", "-attime", str(int(NOW.timestamp())), "-crl_check", "-x509_strict",
        "-CAfile", "root.pem", "-untrusted", "application.pem", "-CRLfile", "crl.pem", "leaf.pem",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert verdict in done.stdout + done.stderr
    assert (done.returncode == 0) is not revoked


def test_lists_are_read_from_pem_one_after_the_other() -> None:
    lists = [listed(SERIAL), listed(7, number=2)]
    pem = b"\n".join(one.crl.public_bytes(Encoding.PEM) for one in lists)
    read = RevocationLists.from_pem(pem).entries
    assert [(one.number, set(one.serials)) for one in read] == [(1, {SERIAL}), (2, {7})]
    assert [one.to_der() for one in read] == [one.to_der() for one in lists]
    assert RevocationLists.from_pem(b"") == RevocationLists()


@pytest.mark.parametrize(
    "pem",
    [
        b"no list",
        b"-----BEGIN X509 CRL-----\nAAAA\n",
        b"-----BEGIN X509 CRL-----\nA\n-----END X509 CRL-----\n",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\nmore",
    ],
)
def test_what_is_no_list_in_pem_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidRevocationList):
        RevocationLists.from_pem(pem)


def test_a_source_is_asked_for_the_lists_of_each_issuer_once_the_chain_is_proven() -> None:
    class Source:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def by_issuer(
            self, issuer: bytes, name: Name | None = None, key: PublicKey | None = None
        ) -> list[RevocationList]:
            self.asked.append(str(name))
            return [listed(SERIAL)] if issuer == listed().issuer else []

    source = Source()
    with pytest.raises(VerificationError) as caught:
        verify_blessing(REALM.blessing, REALM.roots, now=NOW, policy=Policy(revocation=source))
    assert caught.value.reason is Reason.REVOKED
    assert source.asked == ["acme:prod:shop:web"]
    with pytest.raises(VerificationError):
        verify_blessing(realm().blessing, REALM.roots, now=NOW, policy=Policy(revocation=source))
    assert source.asked == ["acme:prod:shop:web"], "a stranger makes nobody fetch a list"
