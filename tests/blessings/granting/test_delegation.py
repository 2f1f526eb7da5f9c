"""Delegation: what it proves, to whom, and what no one can make of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from blessings import (
    SVIDS_ONLY,
    WITH_DELEGATION,
    Authority,
    Blessing,
    CannotBless,
    Expiry,
    InvalidCaveat,
    InvalidName,
    KeyKind,
    Methods,
    Name,
    Policy,
    Principal,
    Reason,
    VerificationError,
    delegate,
    verify_blessing,
)
from blessings.profile import certificates as profile
from blessings.profile import restrictions
from blessings.profile.certificates import MAX_CHAIN_LENGTH
from blessings.profile.restrictions import Restrictions
from tests.blessings.forging import LEAF_USAGE, SIGNER_USAGE, certificate, leaf_under, subject_of
from tests.chains import HOUR, NOW, YEAR, realm

ONE = realm()
NAME = "acme:prod:shop:web:web-1"
DELEGATION = Restrictions(delegation=True, caveats=()).to_extension().value


def reason(blessing: Blessing, policy: Policy = WITH_DELEGATION) -> Reason:
    with pytest.raises(VerificationError) as caught:
        verify_blessing(blessing, ONE.roots, now=NOW, policy=policy)
    return caught.value.reason


def test_a_delegate_has_the_name_of_its_blesser_and_more() -> None:
    _, blessing = ONE.delegated("phone", "watch:left")
    assert (
        str(verify_blessing(blessing, ONE.roots, now=NOW, policy=WITH_DELEGATION))
        == f"{NAME}:phone:watch:left"
    )
    assert str(blessing.presented) == f"{NAME}:phone:watch:left"


def test_a_verifier_takes_part_in_delegation_only_when_its_policy_says_so() -> None:
    _, two = ONE.delegated("phone", "watch")
    assert reason(two, SVIDS_ONLY) is Reason.DELEGATION_NOT_ACCEPTED
    assert reason(two, Policy(max_delegations=1)) is Reason.DELEGATION_NOT_ACCEPTED
    verify_blessing(two, ONE.roots, now=NOW, policy=Policy(max_delegations=2))


def test_a_delegation_is_offline_bound_to_a_key_and_never_outlives_its_blesser() -> None:
    key = Principal.create(KeyKind.ED25519)
    blessing = delegate(ONE.replica, ONE.blessing, key.public_key, "phone", now=NOW, lifetime=YEAR)
    assert blessing.public_key == key.public_key
    assert blessing.leaf.not_valid_after_utc == ONE.blessing.leaf.not_valid_after_utc


def test_a_chain_is_as_long_as_documented_and_not_longer() -> None:
    principal, blessing = ONE.delegated(*["x"] * (MAX_CHAIN_LENGTH - 2))
    assert len(blessing.certificates) == MAX_CHAIN_LENGTH
    verify_blessing(blessing, ONE.roots, now=NOW, policy=WITH_DELEGATION)
    with pytest.raises(CannotBless, match="certificates already, the maximum"):
        delegate(principal, blessing, principal.public_key, "y", now=NOW, lifetime=HOUR)


def test_a_delegate_looks_like_no_svid() -> None:
    _, blessing = ONE.delegated("phone")
    extensions = blessing.leaf.extensions
    assert extensions.get_extension_for_oid(restrictions.OID).critical
    for absent in (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.EXTENDED_KEY_USAGE):
        with pytest.raises(x509.ExtensionNotFound):
            extensions.get_extension_for_oid(absent)
    assert not blessing.is_svid
    assert ONE.blessing.is_svid


def test_a_principal_may_restrict_itself() -> None:
    own = delegate(
        ONE.replica,
        ONE.blessing,
        ONE.replica.public_key,
        "careful",
        now=NOW,
        lifetime=HOUR,
        caveats=[Methods(("Get",))],
    )
    assert reason(own) is Reason.CAVEAT_FAILED


def test_attack_a_delegate_that_makes_itself_an_svid() -> None:
    principal, blessing = ONE.delegated("phone")
    forged = leaf_under(principal, blessing, f"{NAME}:phone:x")
    assert reason(forged) is Reason.NOT_AN_AUTHORITY


def test_attack_a_delegate_that_makes_itself_an_authority() -> None:
    principal, blessing = ONE.delegated("phone")
    key = Principal.create()
    authority = certificate(
        principal,
        blessing.leaf.subject,
        key.public_key,
        subject=subject_of(f"{NAME}:phone:x"),
        ca=True,
        usage=SIGNER_USAGE,
        uris=("spiffe://acme",),
    )
    forged = leaf_under(key, Blessing((authority, *blessing.certificates)), f"{NAME}:phone:x:y")
    assert reason(forged) is Reason.NOT_AN_AUTHORITY


def test_attack_a_delegate_of_a_name_that_is_not_its_blessers() -> None:
    forged = certificate(
        ONE.replica,
        ONE.blessing.leaf.subject,
        Principal.create().public_key,
        subject=subject_of("acme:prod:shop:admin:x"),
        usage=LEAF_USAGE,
        restrictions=DELEGATION,
    )
    assert reason(Blessing((forged, *ONE.blessing.certificates))) is Reason.NAME_NOT_EXTENDED


@pytest.mark.parametrize("above", ["application", "root"])
def test_attack_a_delegate_directly_under_an_authority(above: str) -> None:
    """Who may sign certificates has no reason to make one that only delegates, and may be confused."""
    signer = ONE.application if above == "application" else ONE.root
    forged = certificate(
        signer.principal,
        signer.certificate.subject,
        Principal.create().public_key,
        subject=subject_of(f"{signer.name}:x"),
        usage=LEAF_USAGE,
        restrictions=DELEGATION,
    )
    chain = (forged,) if above == "root" else (forged, *ONE.application.blessing.certificates)
    assert reason(Blessing(chain)) is Reason.NOT_A_LEAF


def test_attack_a_signature_by_another_than_the_blesser() -> None:
    forged = profile.build_delegate_certificate(
        Name.parse(f"{NAME}:phone"),
        Principal.create().public_key,
        issuer=ONE.blessing.leaf,
        issuer_key=Principal.create().signing_key,
        not_before=NOW,
        not_after=NOW + HOUR / 2,
        caveats=(),
    )
    assert reason(Blessing((forged, *ONE.blessing.certificates))) is Reason.BAD_SIGNATURE


def test_attack_a_delegate_that_leaves_out_a_caveat_above_it() -> None:
    principal, blessing = ONE.delegated("phone", caveats=[Expiry(NOW)])
    wider = delegate(principal, blessing, Principal.create().public_key, "x", now=NOW, lifetime=HOUR)
    assert reason(wider) is Reason.CAVEAT_FAILED


def test_who_may_not_delegate_is_told_why() -> None:
    stranger = Principal.create()
    malformed = Blessing(
        (certificate(ONE.application.principal, subject_of("acme"), stranger.public_key, ca=None),)
    )
    after, before = NOW + 2 * HOUR, NOW - HOUR
    for principal, blessing, now, message in (
        (stranger, ONE.blessing, NOW, "another key"),
        (ONE.application.principal, ONE.application.blessing, NOW, "Authority"),
        (stranger, malformed, NOW, "basicConstraints"),
        (ONE.replica, ONE.blessing, after, "expired"),
        (ONE.replica, ONE.blessing, before, "not valid before"),
    ):
        with pytest.raises(CannotBless, match=message):
            delegate(principal, blessing, stranger.public_key, "x", now=now, lifetime=HOUR)


def test_bad_extensions_and_too_many_caveats_are_refused() -> None:
    key = Principal.create().public_key
    with pytest.raises(InvalidName):
        delegate(ONE.replica, ONE.blessing, key, "a b", now=NOW, lifetime=HOUR)
    with pytest.raises(InvalidCaveat, match="at most 32"):
        delegate(ONE.replica, ONE.blessing, key, "x", now=NOW, lifetime=HOUR, caveats=[Expiry(NOW)] * 33)
    long = Methods(("m" * 256,) * 80)
    with pytest.raises(InvalidCaveat, match="bytes"):
        delegate(ONE.replica, ONE.blessing, key, "x", now=NOW, lifetime=HOUR, caveats=[long])


def test_caveats_of_an_authority_hold_for_everything_below_and_make_it_no_svid() -> None:
    agent, key = Principal.create(), Principal.create().public_key
    caveats = [Expiry(NOW + timedelta(minutes=5))]
    granted = ONE.root.grant(agent.public_key, "shop", now=NOW, lifetime=HOUR, caveats=caveats)
    below = Authority(agent, granted).bless(key, "x", now=NOW, lifetime=HOUR)
    leaf = ONE.application.bless(key, "x", now=NOW, lifetime=HOUR, caveats=caveats)
    for blessing in (below, leaf):
        assert not blessing.is_svid
        verify_blessing(blessing, ONE.roots, now=NOW)
        with pytest.raises(VerificationError) as caught:
            verify_blessing(blessing, ONE.roots, now=NOW + timedelta(minutes=5))
        assert caught.value.reason is Reason.CAVEAT_FAILED
        assert caught.value.field == "restrictions.caveats[0]"
    assert caught.value.certificate == 0


def test_a_root_alone_is_no_leafs_name() -> None:
    with pytest.raises(InvalidName, match="root alone"):
        profile.build_leaf_certificate(
            Name.parse("acme"),
            ONE.replica.public_key,
            issuer=ONE.root.certificate,
            issuer_key=ONE.root.principal.signing_key,
            not_before=NOW,
            not_after=NOW + HOUR,
            dns_names=(),
            usages=(),
        )


def test_a_leaf_with_caveats_has_no_dns_names() -> None:
    with pytest.raises(CannotBless, match="must have no DNS names"):
        ONE.application.bless(
            Principal.create().public_key,
            "x",
            now=NOW,
            lifetime=HOUR,
            dns_names=["x.example"],
            caveats=[Expiry(NOW)],
        )
