"""Issuing certificates over many lifetimes of them, by a clock that is turned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blessings import Authority, Blessing, Name, Principal, verify_blessing
from cluster_agent.errors import Forbidden, Unavailable
from cluster_agent.signing.issuer_life import LEAST_LIFE, Life, is_ending, plan
from cluster_agent.signing.room import GRANT_LIFETIME, IdentityAuthority, SigningRoom
from tests.clock import Clock

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WEB = Name.parse("acme:prod:shop:web")


def room_of(lifetime: timedelta, name: str = "acme") -> SigningRoom:
    def root(name: str) -> Authority:
        return Authority.create_root(Name.parse(name), Principal.create(), now=NOW, lifetime=lifetime)

    identity = IdentityAuthority.of_root(root(name))
    return SigningRoom(identity, Principal.create(), root("vanadium-bootstrap"))


def sign(room: SigningRoom, clock: Clock, ttl: timedelta = HOUR, application: Name = WEB) -> Blessing:
    return room.sign_replica(application, "web-1", Principal.create().public_key, now=clock(), ttl=ttl)


def test_over_ten_years_an_issuer_is_always_renewed_well_before_its_end() -> None:
    room, clock = room_of(3660 * DAY), Clock(NOW)
    issuers: list[Life] = []
    while clock() < NOW + 3650 * DAY:
        blessing = sign(room, clock, 24 * HOUR)
        assert verify_blessing(blessing, room.identity_roots, now=clock()) == WEB.extend("web-1")
        assert blessing.not_after == clock() + 24 * HOUR, "cut short by its issuer"
        life = Life.of(Blessing(blessing.certificates[1:]))
        assert life.left(clock()) > GRANT_LIFETIME / 3 - 12 * HOUR
        if not issuers or issuers[-1] != life:
            issuers.append(life)
        clock.turn(hours=13)
    assert 150 < len(issuers) < 200
    for earlier, later in pairwise(issuers):
        assert earlier.not_after - later.not_before > 9 * DAY, "no overlap"


def test_when_the_authority_ends_ttls_shrink_then_nothing_is_signed() -> None:
    room, clock = room_of(10 * DAY), Clock(NOW)
    ends = room.identity.signing.blessing.not_after
    grants, lives = set(), []
    while ends - clock() >= LEAST_LIFE:
        blessing = sign(room, clock)
        assert blessing.not_after <= ends
        lives.append(blessing.not_after - clock())
        grants.add(blessing.certificates[1].serial_number)
        clock.turn(minutes=7)
    with pytest.raises(Unavailable, match="the signing certificate of acme ends at 2026-12-04") as caught:
        sign(room, clock)
    assert caught.value.reason == "IssuerEnding"
    assert lives == sorted(lives, reverse=True)
    assert lives[0] == HOUR
    assert lives[-1] < timedelta(minutes=10)
    assert len(grants) == 1, "another grant could not have lived longer"


def test_attack_an_application_outside_of_the_authoritys_name_is_not_granted() -> None:
    room = room_of(10 * DAY)
    for other in ("other:prod:shop:web", "acme2:shop:web"):
        with pytest.raises(Forbidden, match="may name what is under acme"):
            sign(room, Clock(NOW), application=Name.parse(other))


def test_another_authority_is_followed_at_once() -> None:
    room, clock, other = room_of(10 * DAY), Clock(NOW), room_of(10 * DAY)
    before = sign(room, clock)
    room.follow(IdentityAuthority(other.identity.signing, other.identity_roots + room.identity_roots))
    after = sign(room, clock)
    assert verify_blessing(after, other.identity_roots, now=clock()) == WEB.extend("web-1")
    for blessing in (before, after):
        verify_blessing(blessing, room.identity_roots, now=clock())


def test_what_ends_when_is_said_by_name() -> None:
    room, clock = room_of(10 * DAY), Clock(NOW)
    sign(room, clock)
    lives = room.lives()
    assert set(lives) == {"identity", "bootstrap", str(WEB)}
    assert min(life.not_after for life in lives.values()) == NOW + 10 * DAY


def test_an_ending_authority_is_warned_of_in_the_last_sixth_of_its_life() -> None:
    life = Life(NOW, NOW + 6 * DAY)
    assert not is_ending(life, NOW + 5 * DAY)
    assert is_ending(life, NOW + 5 * DAY + timedelta(seconds=1))


_SPANS = st.integers(1, 4000 * 86400).map(lambda seconds: timedelta(seconds=seconds))


@given(
    issuer=st.none() | st.tuples(_SPANS, _SPANS).map(lambda two: Life(NOW - two[0], NOW + two[1] - 30 * DAY)),
    above_left=_SPANS,
    ttl=_SPANS,
    lifetime=_SPANS,
)
def test_what_is_signed_never_outlives_its_signer(
    issuer: Life | None, above_left: timedelta, ttl: timedelta, lifetime: timedelta
) -> None:
    above = Life(NOW - DAY, NOW - 30 * DAY + above_left)
    what = plan(issuer, above, now=NOW, ttl=ttl, lifetime=lifetime)
    assert timedelta(0) <= what.ttl <= ttl
    if what.ttl:
        signer_ends = NOW + lifetime if what.renew or issuer is None else issuer.not_after
        assert NOW + what.ttl <= min(signer_ends, above.not_after)
        assert what.ttl >= min(LEAST_LIFE, ttl)


@given(issuer=_SPANS.map(lambda length: Life(NOW, NOW + length)), ttl=_SPANS)
def test_no_issuer_is_replaced_in_the_first_half_of_its_life(issuer: Life, ttl: timedelta) -> None:
    above = Life(NOW - DAY, NOW + 9000 * DAY)
    now = NOW + issuer.length * 0.49
    assert not plan(issuer, above, now=now, ttl=ttl, lifetime=9000 * DAY).renew
    assert plan(issuer, above, now=NOW + issuer.length * 0.67, ttl=ttl, lifetime=9000 * DAY).renew
