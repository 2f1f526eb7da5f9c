"""Caveats: when each holds, and what is no caveat."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blessings import (
    Blessing,
    Call,
    Caveat,
    CaveatRegistry,
    Custom,
    Discharges,
    Expiry,
    InvalidCaveat,
    Methods,
    Name,
    Pattern,
    PeerBlessings,
    Policy,
    Principal,
    Reason,
    ThirdParty,
    Unknown,
    VerificationError,
    delegate,
    keys,
    verify_blessing,
)
from blessings.caveats import kinds
from blessings.caveats.checker import Checker, Failure
from blessings.encoding import canonical
from blessings.encoding.canonical import JSON
from blessings.encoding.fields import Fields
from blessings.profile import restrictions
from tests.chains import HOUR, NOW, realm

ONE = realm()
KEY = Principal.create().public_key
WEB = PeerBlessings((Pattern.parse("acme:web"), Pattern.parse("acme:db:$")))


def zone(parameters: JSON, call: Call, now: datetime) -> str | None:
    if not isinstance(parameters, str):
        raise InvalidCaveat("a zone is a word")
    return None if parameters == "blue" else f"the zone is blue, and not {parameters}"


REGISTRY = CaveatRegistry().with_check("example.com/zone", zone)


def failure(caveat: Caveat, call: Call | None = None, now: datetime = NOW) -> Failure | None:
    return Checker(now, call or Call(), REGISTRY, Discharges()).first_failure([caveat])


def names(*texts: str) -> Call:
    return Call(own_names=tuple(map(Name.parse, texts)))


def test_an_expiry_holds_until_its_time() -> None:
    assert failure(Expiry(NOW), now=NOW - timedelta(seconds=1)) is None
    failed = failure(Expiry(NOW))
    assert failed is not None
    assert failed.reason is Reason.CAVEAT_FAILED
    assert NOW.isoformat() in failed.message


@pytest.mark.parametrize(("method", "holds"), [("Get", True), ("Add", True), ("get", False), (None, False)])
def test_a_method_caveat_holds_for_its_methods(method: str | None, holds: bool) -> None:
    assert (failure(Methods(("Get", "Add")), Call(method)) is None) is holds


@pytest.mark.parametrize(
    ("own", "holds"),
    [
        (("acme:web",), True),
        (("acme:web:web-1",), True),
        (("acme:db",), True),
        (("acme:db:db-1",), False),
        (("acme:website",), False),
        (("other", "acme:web:x"), True),
        ((), False),
    ],
)
def test_a_peer_caveat_holds_for_a_verifier_of_such_a_name(own: tuple[str, ...], holds: bool) -> None:
    assert (failure(WEB, names(*own)) is None) is holds


def test_a_custom_caveat_is_judged_by_the_registry_and_fails_without() -> None:
    assert failure(Custom("example.com/zone", "blue")) is None
    failed = failure(Custom("example.com/zone", "red"))
    assert failed == Failure(0, Reason.CAVEAT_FAILED, "the zone is blue, and not red")
    assert failure(Custom("example.com/zone", 7)) == Failure(0, Reason.CAVEAT_FAILED, "a zone is a word")
    other = failure(Custom("example.com/other", "blue"))
    assert other is not None
    assert other.reason is Reason.UNKNOWN_CAVEAT


def test_a_failing_caveat_is_named_with_its_certificate_and_position() -> None:
    _, blessing = ONE.delegated("phone", caveats=[Methods(("Get",)), Custom("example.com/zone", "red")])
    with pytest.raises(VerificationError) as caught:
        verify_blessing(blessing, ONE.roots, now=NOW, policy=Policy(1, registry=REGISTRY), call=Call("Get"))
    error = caught.value
    assert (error.reason, error.certificate, error.field) == (
        Reason.CAVEAT_FAILED,
        0,
        "restrictions.caveats[1]",
    )


def test_a_caveat_in_the_middle_of_the_chain_counts() -> None:
    principal, blessing = ONE.delegated("phone", caveats=[Methods(("Get",))])
    below = delegate(principal, blessing, KEY, "watch", now=NOW, lifetime=HOUR)
    policy = Policy(max_delegations=2)
    verify_blessing(below, ONE.roots, now=NOW, policy=policy, call=Call("Get"))
    with pytest.raises(VerificationError) as caught:
        verify_blessing(below, ONE.roots, now=NOW, policy=policy, call=Call("Add"))
    assert caught.value.certificate == 1


@pytest.mark.parametrize(
    "caveat",
    [
        Unknown({"kind": "futureKind", "x": [1]}),
        Unknown({"kind": ""}),
        Unknown({"kind": "example.com/zone", "parameters": "blue", "more": True}),
        Unknown({"kind": "example.com/zone"}),
        Unknown([]),
        Custom("example.com/other"),
    ],
)
def test_what_is_unknown_always_fails(caveat: Caveat) -> None:
    failed = failure(caveat, Call("Get", (Name.parse("acme"),)))
    assert failed is not None
    assert failed.reason is Reason.UNKNOWN_CAVEAT


@pytest.mark.parametrize("kind", ["zone", "Example.com/zone", "example/zone", "example.com/", "", "expiry"])
def test_a_kind_that_could_become_one_of_ours_is_nobody_elses(kind: str) -> None:
    with pytest.raises(InvalidCaveat):
        Custom(kind)
    with pytest.raises(InvalidCaveat):
        REGISTRY.with_check(kind, zone)


def test_a_kind_is_registered_once() -> None:
    with pytest.raises(InvalidCaveat, match="already"):
        REGISTRY.with_check("example.com/zone", zone)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Expiry(datetime(2026, 1, 1)),  # noqa: DTZ001 - the point
        lambda: Expiry(datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)),
        lambda: Methods(()),
        lambda: Methods(("a b",)),
        lambda: Methods(("",)),
        lambda: Methods(("m" * 257,)),
        lambda: PeerBlessings(()),
        lambda: ThirdParty(KEY, "https://x", b"short"),
        lambda: ThirdParty(KEY, "", bytes(16)),
        lambda: ThirdParty(KEY, "https://é", bytes(16)),
        lambda: ThirdParty(KEY, "x" * 2049, bytes(16)),
        lambda: Custom("example.com/x", 2**53),
    ],
)
def test_a_caveat_that_means_nothing_is_not_made(build: object) -> None:
    assert callable(build)
    with pytest.raises(InvalidCaveat):
        build()


THIRD: dict[str, JSON] = {
    "kind": "thirdParty",
    "discharger": base64.b64encode(keys.encoded(KEY)).decode(),
    "location": "https://x",
    "nonce": base64.b64encode(bytes(16)).decode(),
    "conditions": [],
}


def nested(depth: int) -> JSON:
    value: JSON = {**THIRD}
    for _ in range(depth):
        value = {**THIRD, "conditions": [value]}
    return value


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (None, "caveat"),
        ([], "caveat"),
        ({}, "kind"),
        ({"kind": 1}, "kind"),
        ({"kind": "expiry"}, "at"),
        ({"kind": "expiry", "at": 1}, "at"),
        ({"kind": "expiry", "at": "2026-11-24T12:00:00+00:00"}, "at"),
        ({"kind": "expiry", "at": "2026-13-24T12:00:00Z"}, "at"),
        ({"kind": "expiry", "at": "2026-11-24T12:00:00Z", "x": 1}, "x"),
        ({"kind": "methods", "methods": "Get"}, "methods"),
        ({"kind": "methods", "methods": [1]}, "methods"),
        ({"kind": "methods", "methods": []}, "method"),
        ({"kind": "peerBlessings", "patterns": ["acme:*"]}, "pattern"),
        ({"kind": "peerBlessings", "patterns": []}, "pattern"),
        ({**THIRD, "discharger": "!"}, "discharger"),
        ({**THIRD, "discharger": "AA"}, "discharger"),
        ({**THIRD, "discharger": "AB=="}, "discharger"),
        ({**THIRD, "discharger": "AAAA"}, "public key"),
        ({**THIRD, "nonce": "AAAA"}, "nonce"),
        ({**THIRD, "conditions": [{}]}, "conditions\\[0\\]"),
        ({**THIRD, "conditions": [{"kind": "expiry", "at": "2026-11-24T12:00:00Z"}] * 33}, "at most 32"),
        (nested(4), "nested"),
    ],
)
def test_a_known_kind_in_a_wrong_form_is_refused_and_not_unknown(value: JSON, where: str) -> None:
    with pytest.raises(InvalidCaveat, match=where):
        kinds.parse(value)


def test_conditions_may_be_nested_as_deep_as_documented() -> None:
    kinds.parse(nested(3))


def test_a_key_in_another_spelling_is_refused() -> None:
    """OpenSSL reads the compressed point too; one caveat would have two identifiers."""
    assert isinstance(KEY, ec.EllipticCurvePublicKey)
    point = KEY.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    whole = keys.encoded(KEY)
    compressed = b"\x30\x39" + whole[2:23] + b"\x03\x22\x00" + point
    with pytest.raises(InvalidCaveat, match="DER"):
        kinds.parse({**THIRD, "discharger": base64.b64encode(compressed).decode()})


def test_caveats_may_stand_in_sets() -> None:
    assert (
        len({ThirdParty(KEY, "https://x", bytes(16)), kinds.parse(THIRD), Custom("example.com/x", [1])}) == 2
    )


def test_an_expiry_is_spelled_in_utc() -> None:
    local = Expiry(NOW.astimezone(timezone(timedelta(hours=2))))
    assert local.to_json() == {"kind": "expiry", "at": "2026-11-24T12:00:00Z"}


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":NaN}',
        b"{",
        b"\xff",
        b'"\\u0041"',
        b'"\\ud800"',
        b'{"\xc3\xa9":1}',
        b"9007199254740992",
        b"-0",
        b"[" * 2000 + b"]" * 2000,
        b"[" * 14 + b"]" * 14,
        b'"' + b"x" * 16384 + b'"',
        b"",
    ],
)
def test_json_in_another_spelling_or_outside_of_what_is_allowed_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidCaveat):
        canonical.parse(data)


@pytest.mark.parametrize("value", [1.5, "\ud800", {1: 2}, {"é": 1}, object(), 2**53, [[1.5]]])
def test_values_without_a_canonical_spelling_are_refused(value: object) -> None:
    with pytest.raises(InvalidCaveat):
        canonical.encode(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        b'{"caveats":[],"delegation":false,"version":1}',
        b'{"caveats":[],"delegation":true,"version":2}',
        b'{"caveats":[],"delegation":true,"version":true}',
        b'{"caveats":[],"delegation":1,"version":1}',
        b'{"caveats":{},"delegation":true,"version":1}',
        b'{"caveats":[],"delegation":true}',
        b'{"caveats":[],"delegation":true,"more":1,"version":1}',
        b'{"delegation":true,"caveats":[],"version":1}',
        b"[]",
    ],
)
def test_restrictions_of_another_form_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidCaveat):
        restrictions.parse(restrictions._wrap(content))


@pytest.mark.parametrize(
    "value", [b"", b"\x0c", b"\x0c\x05{}", b"\x0c\x81\x02{}", b"\x13\x02{}", b"\x0c\x02{}\x00", b"\x0c\x80{}"]
)
def test_an_extension_value_that_is_not_der_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidCaveat, match="UTF8String"):
        restrictions.parse(value)


@pytest.mark.parametrize("value", [True, "7", None, -1, 11, []])
def test_a_number_outside_of_its_range_is_refused_by_name(value: JSON) -> None:
    assert Fields({"n": 10}, "it", ("n",)).whole_number("n", 10) == 10
    with pytest.raises(InvalidCaveat, match=r"it\.n must be a whole number"):
        Fields({"n": value}, "it", ("n",)).whole_number("n", 10)


def test_a_blessing_with_an_unknown_caveat_can_be_carried_and_shown() -> None:
    _, blessing = ONE.delegated("phone", caveats=[Unknown({"kind": "futureKind"})])
    again = Blessing.from_pem(blessing.to_pem())
    assert again.facts(0).caveats == (Unknown({"kind": "futureKind"}),)
