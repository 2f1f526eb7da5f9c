"""Third-party caveats: what discharges them, how discharges are fetched, and what does not count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from blessings import (
    Blessing,
    Call,
    CannotBless,
    Caveat,
    Discharge,
    DischargeCache,
    Discharges,
    Expiry,
    InvalidCaveat,
    KeyKind,
    Methods,
    Policy,
    Principal,
    Reason,
    ThirdParty,
    VerificationError,
    discharge,
    verify_blessing,
)
from blessings.caveats.discharges import MAX_DISCHARGES, encode_request, parse_request
from blessings.verification.policy import NO_CUSTOM_CAVEATS
from tests.chains import HOUR, NOW, realm

ONE = realm()
DISCHARGER = Principal.create()
OTHER = Principal.create(KeyKind.ED25519)
MINUTE = timedelta(minutes=1)


def third(*conditions: Caveat, by: Principal = DISCHARGER, nonce: int = 0) -> ThirdParty:
    return ThirdParty(by.public_key, "https://discharger.example/", nonce.to_bytes(16, "big"), conditions)


def met(
    caveat: ThirdParty,
    *own: Caveat,
    by: Principal = DISCHARGER,
    call: Call | None = None,
    now: datetime = NOW,
    presented: Discharges | None = None,
) -> Discharge:
    return discharge(
        by,
        caveat,
        now=now,
        call=call or Call(),
        registry=NO_CUSTOM_CAVEATS,
        discharges=presented or Discharges(),
        caveats=own,
    )


def with_caveats(*caveats: Caveat) -> Blessing:
    return ONE.delegated("phone", caveats=caveats)[1]


def holds(
    blessing: Blessing, discharges: Sequence[Discharge], now: datetime = NOW, call: Call | None = None
) -> str:
    """The reason why not, empty when it holds."""
    try:
        verify_blessing(
            blessing,
            ONE.roots,
            now=now,
            policy=Policy(max_delegations=1),
            call=call or Call(),
            discharges=Discharges(tuple(discharges)),
        )
    except VerificationError as error:
        return str(error) if error.reason is Reason.MISSING_DISCHARGE else error.reason
    return ""


@pytest.mark.parametrize("by", [DISCHARGER, OTHER])
def test_a_caveat_holds_with_its_discharge(by: Principal) -> None:
    caveat = third(by=by)
    blessing = with_caveats(caveat)
    assert "none was presented" in holds(blessing, [])
    assert holds(blessing, [met(caveat, by=by)]) == ""


def test_a_discharge_holds_as_its_own_caveats_do() -> None:
    caveat = third()
    blessing = with_caveats(caveat)
    timed = met(caveat, Expiry(NOW + MINUTE), Methods(("Get",)))
    assert holds(blessing, [timed], call=Call("Get")) == ""
    assert "caveat 1 does not hold" in holds(blessing, [timed], call=Call("Add"))
    assert "caveat 0 does not hold" in holds(blessing, [timed], NOW + MINUTE, Call("Get"))


def test_any_of_several_discharges_will_do() -> None:
    caveat = third()
    late, good = met(caveat, Expiry(NOW)), met(caveat)
    forged = Discharge(caveat.identifier, (), b"no signature")
    assert holds(with_caveats(caveat), [late, forged, good]) == ""


def test_a_discharge_may_need_another() -> None:
    inner = third(by=OTHER, nonce=2)
    outer = third(nonce=1)
    chained = met(outer, inner)
    blessing = with_caveats(outer)
    assert "none was presented" in holds(blessing, [chained])
    assert holds(blessing, [chained, met(inner, by=OTHER)]) == ""


def test_one_discharge_serves_a_caveat_that_stands_twice() -> None:
    caveat = third()
    assert holds(with_caveats(caveat, caveat), [met(caveat)]) == ""


def test_attack_discharges_that_wait_for_each_other() -> None:
    one, two = third(nonce=1), third(by=OTHER, nonce=2)
    circle = [met(one, two), met(two, one, by=OTHER)]
    assert "depends on itself" in holds(with_caveats(one), circle)


def test_attack_a_discharge_by_somebody_else() -> None:
    caveat = third()
    forged = Discharge(caveat.identifier, (), OTHER.sign_discharge(b""))
    assert "not signed by the discharger" in holds(with_caveats(caveat), [forged])


def test_attack_a_discharge_of_another_caveat() -> None:
    one, two = third(nonce=1), third(nonce=2)
    moved = Discharge(one.identifier, (), met(two).signature)
    assert "not signed by the discharger" in holds(with_caveats(one), [moved])
    assert "none was presented" in holds(with_caveats(one), [met(two)])


def test_attack_a_discharge_without_its_caveats() -> None:
    caveat = third()
    strict = met(caveat, Expiry(NOW))
    stripped = Discharge(strict.caveat, (), strict.signature)
    assert "not signed by the discharger" in holds(with_caveats(caveat), [stripped])


def test_attack_a_message_signature_is_no_discharge() -> None:
    """An attacker who makes a discharger sign a chosen message gains no discharge."""
    caveat = third()
    real = met(caveat)
    content = b'{"caveat":"%s","caveats":[],"version":1}' % caveat.identifier.encode()
    assert Discharge(caveat.identifier, (), DISCHARGER.sign_discharge(content)).is_signed_by(
        caveat.discharger
    )
    assert not Discharge(caveat.identifier, (), DISCHARGER.sign(content)).is_signed_by(caveat.discharger)
    assert real.is_signed_by(caveat.discharger)


def test_a_discharger_checks_the_conditions_first() -> None:
    caveat = third(Methods(("Get",)))
    met(caveat, call=Call("Get"))
    with pytest.raises(CannotBless, match="condition 0"):
        met(caveat, call=Call("Add"))
    with pytest.raises(CannotBless, match="names the discharger"):
        met(third(), by=OTHER)
    nested = third(third(by=OTHER, nonce=2), nonce=1)
    with pytest.raises(CannotBless, match="none was presented"):
        met(nested)
    met(nested, presented=Discharges((met(third(by=OTHER, nonce=2), by=OTHER),)))


def test_conditions_are_not_the_verifiers() -> None:
    caveat = third(Methods(("Get",)))
    assert holds(with_caveats(caveat), [met(caveat, call=Call("Get"))], call=Call("Add")) == ""


def test_a_request_survives_and_asks_for_nothing_else() -> None:
    caveat = third(Methods(("Get",)))
    assert parse_request(encode_request(caveat)) == caveat
    for data in (b"", b"{}", b'{"version":1,"caveat":{"kind":"methods","methods":["Get"]}}',
                 encode_request(caveat).replace(b'"version":1', b'"version":2')):  # fmt: skip
        with pytest.raises(InvalidCaveat):
            parse_request(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"version":1}',
        b'{"caveat":"00","caveats":[],"signature":"","version":1}',
        b'{"caveat":"%s","caveats":[],"signature":"","version":1}' % (b"A" * 64),
        b'{"caveat":"%s","caveats":[],"signature":"","version":2}' % (b"a" * 64),
        b'{"caveat":"%s","caveats":[],"signature":"!","version":1}' % (b"a" * 64),
        b'{"caveat":"%s","caveats":[7],"signature":"","version":1}' % (b"a" * 64),
    ],
)
def test_bytes_that_are_no_discharge_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidCaveat):
        Discharge.parse(data)


def test_more_discharges_than_documented_are_refused() -> None:
    with pytest.raises(InvalidCaveat, match="at most 64"):
        Discharges((met(third()),) * (MAX_DISCHARGES + 1))


class Fetching:
    """A fetcher that counts; `answers` are by nonce."""

    def __init__(self, *answers: Discharge) -> None:
        self.answers = {one.caveat: one for one in answers}
        self.asked: list[str] = []

    def __call__(self, caveat: ThirdParty) -> Discharge:
        self.asked.append(caveat.identifier)
        return self.answers[caveat.identifier]


def test_discharges_are_fetched_with_what_they_need_and_kept_until_they_expire() -> None:
    inner, outer = third(by=OTHER, nonce=2), third(nonce=1)
    fetch = Fetching(met(outer, Expiry(NOW + MINUTE), inner), met(inner, by=OTHER))
    cache = DischargeCache(fetch)
    blessing = with_caveats(outer, Methods(("Get",)), outer)
    found = cache.discharges_for(blessing, now=NOW)
    assert holds(blessing, found.entries, call=Call("Get")) == ""
    assert fetch.asked == [outer.identifier, inner.identifier]
    cache.discharges_for(blessing, now=NOW + MINUTE - timedelta(seconds=1))
    assert len(fetch.asked) == 2
    cache.discharges_for(blessing, now=NOW + MINUTE)
    assert fetch.asked == [outer.identifier, inner.identifier, outer.identifier]


def test_a_blessing_without_third_parties_asks_nobody() -> None:
    assert DischargeCache(Fetching()).discharges_for(with_caveats(Methods(("Get",))), now=NOW) == Discharges()


def test_the_cache_forgets_the_one_that_was_used_longest_ago() -> None:
    caveats = [third(nonce=number) for number in range(3)]
    fetch = Fetching(*map(met, caveats))
    cache = DischargeCache(fetch, capacity=2)
    blessings = [with_caveats(caveat) for caveat in caveats]
    for blessing in (blessings[0], blessings[1], blessings[0], blessings[2], blessings[0]):
        cache.discharges_for(blessing, now=NOW)
    assert fetch.asked == [caveat.identifier for caveat in caveats]
    cache.discharges_for(blessings[1], now=NOW)
    assert len(fetch.asked) == 4


def test_attack_an_answer_that_is_no_discharge_of_the_caveat_is_not_kept() -> None:
    caveat, other = third(nonce=1), third(nonce=2)
    for answer in (met(other), Discharge(caveat.identifier, (), b"")):
        fetch = Fetching()
        fetch.answers[caveat.identifier] = answer
        with pytest.raises(InvalidCaveat, match="is for another caveat"):
            DischargeCache(fetch).discharges_for(with_caveats(caveat), now=NOW)


def test_attack_an_endless_row_of_discharges_ends() -> None:
    row = [third(nonce=number) for number in range(MAX_DISCHARGES + 2)]
    fetch = Fetching(*(met(one, following) for one, following in pairwise(row)))
    with pytest.raises(InvalidCaveat, match="more than 64"):
        DischargeCache(fetch).discharges_for(with_caveats(row[0]), now=NOW)


def test_a_blessing_expires_with_its_discharge_and_not_with_the_cache() -> None:
    caveat = third()
    cache = DischargeCache(Fetching(met(caveat)))
    blessing = with_caveats(caveat)
    found = cache.discharges_for(blessing, now=NOW + HOUR / 2)
    assert holds(blessing, found.entries, NOW + HOUR / 2) == ""
