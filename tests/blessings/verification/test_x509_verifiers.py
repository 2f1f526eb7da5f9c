"""Plain X.509 verifiers judge the same chains as the profile says: SVIDs accepted, the restricted refused.

The `openssl` program is a part of the test; a machine without it fails here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from blessings import (
    WITH_DELEGATION,
    Authority,
    Blessing,
    Expiry,
    KeyKind,
    Pattern,
    Principal,
    Root,
    Roots,
    delegate,
    verify_blessing,
)
from blessings.names import Name
from blessings.principals.blessed_principal import bless_self
from tests.blessings.forging import leaf_under
from tests.chains import HOUR, NOW, Realm, realm

ONE = realm()
OUT_OF_REACH = [Expiry(NOW + HOUR)]


def openssl(
    directory: Path, blessing: Blessing, roots: Roots, now: datetime, *arguments: str
) -> tuple[bool, str]:
    (directory / "roots.pem").write_text(roots.to_pem())
    (directory / "leaf.pem").write_text(Blessing(blessing.certificates[:1]).to_pem())
    (directory / "chain.pem").write_text(blessing.to_pem())
    judged = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", *arguments,
         "-attime", str(int(now.timestamp())),
         "-CAfile", "roots.pem", "-untrusted", "chain.pem", "leaf.pem"],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return judged.returncode == 0, judged.stdout + judged.stderr


def cryptography(blessing: Blessing, roots: Roots, now: datetime) -> tuple[bool, str]:
    """As a TLS client's certificate. SPIFFE demands no critical subjectAltName, and knows no other policy."""
    present = ExtensionPolicy.webpki_defaults_ee().require_present(
        x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
    )
    verifier = (
        PolicyBuilder()
        .store(Store([root.certificate for root in roots]))
        .time(now)
        .extension_policies(
            ca_policy=ExtensionPolicy.permit_all().require_present(
                x509.BasicConstraints, Criticality.AGNOSTIC, None
            ),
            ee_policy=present,
        )
        .build_client_verifier()
    )
    try:
        verifier.verify(blessing.leaf, list(blessing.certificates[1:]))
    except VerificationError as error:
        return False, str(error)
    return True, ""


def svid(one: Realm) -> Blessing:
    return one.blessing


def svid_of_ed25519(one: Realm) -> Blessing:
    key = Principal.create(KeyKind.ED25519).public_key
    return one.application.bless(key, "web-2", now=NOW, lifetime=HOUR)


def svid_under_the_root(one: Realm) -> Blessing:
    return one.root.bless(Principal.create().public_key, "web", now=NOW, lifetime=HOUR)


def delegated(one: Realm) -> Blessing:
    return one.delegated("phone")[1]


def delegated_twice(one: Realm) -> Blessing:
    return one.delegated("phone", "watch")[1]


def delegated_with_caveats(one: Realm) -> Blessing:
    return one.delegated("phone", caveats=OUT_OF_REACH)[1]


def delegated_to_itself(one: Realm) -> Blessing:
    return delegate(one.replica, one.blessing, one.replica.public_key, "x", now=NOW, lifetime=HOUR)


def leaf_with_caveats(one: Realm) -> Blessing:
    key = Principal.create().public_key
    return one.application.bless(key, "x", now=NOW, lifetime=HOUR, caveats=OUT_OF_REACH)


def leaf_below_caveats(one: Realm) -> Blessing:
    agent = Principal.create()
    granted = one.root.grant(agent.public_key, "shop", now=NOW, lifetime=HOUR, caveats=OUT_OF_REACH)
    return Authority(agent, granted).bless(Principal.create().public_key, "x", now=NOW, lifetime=HOUR)


def leaf_by_a_leaf(one: Realm) -> Blessing:
    return leaf_under(one.replica, one.blessing, "acme:prod:shop:web:web-1:x")


def leaf_of_another_root(one: Realm) -> Blessing:
    return realm().blessing


@pytest.mark.parametrize("make", [svid, svid_of_ed25519, svid_under_the_root])
def test_svids_are_accepted_by_openssl_and_by_us(make: Callable[[Realm], Blessing], tmp_path: Path) -> None:
    blessing = make(ONE)
    assert blessing.is_svid
    verify_blessing(blessing, ONE.roots, now=NOW)
    accepted, said = openssl(tmp_path, blessing, ONE.roots, NOW)
    assert accepted, said


@pytest.mark.parametrize("make", [svid, svid_under_the_root])
def test_svids_are_accepted_by_cryptography_too(make: Callable[[Realm], Blessing]) -> None:
    """Its verifier knows the keys of the Web only, and Ed25519 is none of them."""
    accepted, said = cryptography(make(ONE), ONE.roots, NOW)
    assert accepted, said


RESTRICTED = [
    delegated,
    delegated_twice,
    delegated_with_caveats,
    delegated_to_itself,
    leaf_with_caveats,
    leaf_below_caveats,
]


@pytest.mark.parametrize("make", RESTRICTED)
def test_what_is_restricted_is_accepted_by_us_and_by_no_plain_verifier(
    make: Callable[[Realm], Blessing], tmp_path: Path
) -> None:
    blessing = make(ONE)
    assert not blessing.is_svid
    verify_blessing(blessing, ONE.roots, now=NOW, policy=WITH_DELEGATION)
    accepted, said = openssl(tmp_path, blessing, ONE.roots, NOW)
    assert not accepted, said
    assert not cryptography(blessing, ONE.roots, NOW)[0]


@pytest.mark.parametrize("make", RESTRICTED)
def test_openssl_refuses_the_restricted_for_the_critical_extension(
    make: Callable[[Realm], Blessing], tmp_path: Path
) -> None:
    """Nor is it for another reason alone: told to ignore criticality, it gets further where it can."""
    blessing = make(ONE)
    if len(blessing.certificates) == 2:
        assert "unhandled critical extension" in openssl(tmp_path, blessing, ONE.roots, NOW)[1]
        assert openssl(tmp_path, blessing, ONE.roots, NOW, "-ignore_critical")[0]
    else:
        assert not openssl(tmp_path, blessing, ONE.roots, NOW, "-ignore_critical")[0]


def test_a_replica_pinned_as_trust_anchor_does_not_admit_its_delegates(tmp_path: Path) -> None:
    """The issuer's being CA:FALSE stops nobody then; the critical extension does."""
    pinned = Roots((Root(ONE.blessing.leaf, Pattern.parse("acme")),))
    accepted, said = openssl(tmp_path, ONE.blessing, pinned, NOW, "-partial_chain")
    assert accepted, said
    accepted, said = openssl(tmp_path, delegated(ONE), pinned, NOW, "-partial_chain")
    assert not accepted, said
    assert not cryptography(delegated(ONE), pinned, NOW)[0]


@pytest.mark.parametrize("make", [leaf_by_a_leaf, leaf_of_another_root])
def test_forgeries_are_refused_by_all(make: Callable[[Realm], Blessing], tmp_path: Path) -> None:
    blessing = make(ONE)
    assert not openssl(tmp_path, blessing, ONE.roots, NOW)[0]
    assert not cryptography(blessing, ONE.roots, NOW)[0]


def test_time_is_judged_alike(tmp_path: Path) -> None:
    for now in (NOW - HOUR, NOW + 2 * HOUR):
        assert not openssl(tmp_path, ONE.blessing, ONE.roots, now)[0]
        assert not cryptography(ONE.blessing, ONE.roots, now)[0]


def test_a_blessing_of_oneself_is_an_svid_under_its_own_root(tmp_path: Path) -> None:
    own = bless_self(Principal.create(), Name.parse("alice:laptop"), now=NOW, lifetime=HOUR)
    roots = Roots.of(own.certificates[-1])
    accepted, said = openssl(tmp_path, own, roots, NOW)
    assert accepted, said
    accepted, said = cryptography(own, roots, NOW)
    assert accepted, said
