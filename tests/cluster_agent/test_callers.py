"""Chains whose signatures were checked before are known by their bytes, and by nothing less. A caller in the
secret keepers' list and in the administrators' does not administer, so an overlap of the two is logged."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from blessings import AccessList, Authority, Blessing, Name, Pattern, Principal, Roots, verify_blessing
from cluster_agent import callers
from cluster_agent.callers import KnownCallers, warn_of_overlap
from cluster_agent.errors import NotAuthenticated
from tests.clock import Clock
from tests.cluster_agent.claims.test_claim import Claimable
from tests.cluster_agents import running_cluster_agent

HOUR = timedelta(hours=1)


class Realm:
    """A root, and a replica under it for an hour."""

    def __init__(self) -> None:
        self.clock = Clock()
        now = self.clock()
        self.root = Authority.create_root(Name.parse("acme"), Principal.create(), now=now, lifetime=24 * HOUR)
        self.key = Principal.create()
        self.blessing = self.root.bless(self.key.public_key, "web", now=now, lifetime=HOUR)
        self.roots = Roots.of(self.root.certificate)


def again(blessing: Blessing) -> Blessing:
    """The same chain as another connection brings it."""
    return Blessing.from_der(blessing.to_der())


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Blessing]:
    """The chains that were checked."""
    seen: list[Blessing] = []

    def counted(blessing: Blessing, *args: object, **more: object) -> Name:
        seen.append(blessing)
        return verify_blessing(blessing, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(callers, "verify_blessing", counted)
    return seen


def test_a_chain_that_comes_again_is_checked_once(checks: list[Blessing]) -> None:
    realm, known = Realm(), KnownCallers()
    names = {str(known.identify(again(realm.blessing), (realm.roots,), realm.clock()).name) for _ in range(3)}
    assert names == {"acme:web"}
    assert len(checks) == 1


def test_a_chain_stays_known_when_the_same_roots_are_read_anew(checks: list[Blessing]) -> None:
    realm, known = Realm(), KnownCallers()
    for _ in range(3):
        roots = (Roots(()), Roots.from_pem(realm.roots.to_pem()))
        known.identify(again(realm.blessing), roots, realm.clock())
    assert len(checks) == 1


def test_a_known_chain_that_ended_is_refused() -> None:
    realm, known = Realm(), KnownCallers()
    known.identify(realm.blessing, (realm.roots,), realm.clock())
    realm.clock.turn(hours=1)
    with pytest.raises(NotAuthenticated):
        known.identify(again(realm.blessing), (realm.roots,), realm.clock())


def test_a_known_chain_is_refused_when_the_clock_is_before_it() -> None:
    realm, known = Realm(), KnownCallers()
    known.identify(realm.blessing, (realm.roots,), realm.clock())
    with pytest.raises(NotAuthenticated):
        known.identify(again(realm.blessing), (realm.roots,), realm.clock() - HOUR)


def test_a_known_chain_is_refused_once_its_root_is_no_more_recognised() -> None:
    realm, other, known = Realm(), Realm(), KnownCallers()
    known.identify(realm.blessing, (realm.roots,), realm.clock())
    with pytest.raises(NotAuthenticated):
        known.identify(again(realm.blessing), (other.roots,), realm.clock())
    with pytest.raises(NotAuthenticated):
        known.identify(again(realm.blessing), (Roots(()),), realm.clock())


def test_a_chain_with_the_fields_of_a_known_one_and_another_signature_is_refused() -> None:
    realm, known = Realm(), KnownCallers()
    known.identify(realm.blessing, (realm.roots,), realm.clock())
    der = bytearray(realm.blessing.leaf.public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = Blessing((x509.load_der_x509_certificate(bytes(der)),))
    with pytest.raises(NotAuthenticated):
        known.identify(forged, (realm.roots,), realm.clock())


def test_a_refused_chain_is_checked_each_time(checks: list[Blessing]) -> None:
    realm, other, known = Realm(), Realm(), KnownCallers()
    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            known.identify(again(realm.blessing), (other.roots,), realm.clock())
    assert len(checks) == 2


def test_more_chains_than_are_kept_forget_the_one_used_longest_ago(
    checks: list[Blessing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_MOST_KNOWN", 2)
    realm, known = Realm(), KnownCallers()
    chains = [
        realm.root.bless(realm.key.public_key, f"web-{number}", now=realm.clock(), lifetime=HOUR)
        for number in range(3)
    ]
    for position in (0, 1, 0, 2, 0, 1):
        known.identify(again(chains[position]), (realm.roots,), realm.clock())
    assert [one.presented.components[-1] for one in checks] == ["web-0", "web-1", "web-2", "web-1"]


def list_of(*patterns: str) -> AccessList:
    return AccessList(tuple(Pattern.parse(one) for one in patterns))


@pytest.mark.parametrize(
    ("administrators", "keepers", "overlap"),
    [
        ("acme:ops", "acme:ops", True),
        ("acme:ops:chief", "acme:ops", True),
        ("acme:ops", "acme:ops:keeper", True),
        ("acme:ops", "...", True),
        ("...", "acme:ops:$", True),
        ("acme:ops:$", "acme", True),
        ("acme:ops:$", "acme:$", False),
        ("acme:ops", "acme:$", False),
        ("acme:ops", "acme:opsy", False),
        ("acme:ops", "acme:keepers", False),
    ],
)
def test_a_pattern_that_may_match_a_name_of_the_other_list_is_warned_of(
    administrators: str, keepers: str, overlap: bool
) -> None:
    with capture_logs() as logged:
        warn_of_overlap(list_of(administrators), list_of(keepers))
    warned = [(one["log_level"], one["administrators"], one["secretKeepers"]) for one in logged]
    assert warned == ([("warning", administrators, keepers)] if overlap else [])


async def test_a_claim_whose_administrators_are_in_the_keepers_list_is_warned_of(
    tmp_path: Path, store_url: str
) -> None:
    unclaimed = Claimable(tmp_path, store_url)
    try:
        await unclaimed.claiming.start()
        unclaimed.administrators.secret_keepers = list_of("acme:ops")
        with capture_logs() as logged:
            await unclaimed.claim(administrators={"in": ["acme:ops:chief", "acme:zeta"]})
        warned = [one for one in logged if "secretKeepers" in one]
        assert [(one["administrators"], one["secretKeepers"]) for one in warned] == [
            ("acme:ops:chief", "acme:ops")
        ]
    finally:
        await unclaimed.store.close()


def test_a_keepers_list_that_is_too_wide_is_warned_of_at_the_start(tmp_path: Path) -> None:
    administrators = "vanadium-control-plane:administrator,vanadium-control-plane:chief"
    keepers = "vanadium-control-plane"
    with running_cluster_agent(tmp_path, administrators=administrators, secret_keepers=keepers) as agent:
        for name in administrators.split(","):
            assert f'"administrators": "{name}", "secretKeepers": "vanadium-control-plane"' in agent.log()
