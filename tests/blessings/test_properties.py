"""The laws of names, patterns, access lists, caveats and chains, for any of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blessings import (
    WITH_DELEGATION,
    AccessList,
    Authority,
    Blessing,
    Call,
    Caveat,
    CaveatRegistry,
    Discharge,
    Discharges,
    Name,
    Pattern,
    Permissions,
    Policy,
    Principal,
    Roots,
    ThirdParty,
    TrustBundle,
    VerificationError,
    delegate,
    discharge,
    verify_blessing,
    verify_signature,
)
from blessings.caveats import kinds
from blessings.encoding import canonical
from blessings.encoding.canonical import JSON
from blessings.errors import InvalidCaveat
from blessings.profile.restrictions import Restrictions
from blessings.profile.restrictions import parse as parse_restrictions
from blessings.verification.policy import NO_CUSTOM_CAVEATS
from tests.blessings import strategies as some
from tests.chains import HOUR, NOW, YEAR, realm

ONE = realm()
KNOWN = CaveatRegistry().with_check(
    "example.com/zone", lambda parameters, _call, _now: None if parameters == "blue" else "it is not blue"
)
POLICY = Policy(max_delegations=5, registry=KNOWN)
calls = st.builds(
    Call, st.sampled_from([None, "Get", "Add"]), st.lists(some.small_names, max_size=2).map(tuple)
)


def holds(blessing: Blessing, now: datetime, call: Call, policy: Policy = POLICY) -> bool:
    try:
        verify_blessing(blessing, ONE.roots, now=now, policy=policy, call=call)
    except VerificationError:
        return False
    return True


@given(some.patterns)
def test_a_pattern_survives_its_spelling(pattern: Pattern) -> None:
    assert Pattern.parse(str(pattern)) == pattern


@given(some.small_patterns, some.small_names)
def test_a_pattern_matches_what_its_definition_says(pattern: Pattern, name: Name) -> None:
    spelled = str(pattern)
    if spelled == "...":
        expected = True
    elif spelled.endswith(":$"):
        expected = str(name) == spelled.removesuffix(":$")
    else:
        expected = f"{name}:".startswith(f"{spelled}:")
    assert pattern.matches(name) is expected


@given(some.small_patterns, some.small_names, some.component)
def test_a_pattern_without_an_end_matches_every_extension_of_what_it_matches(
    pattern: Pattern, name: Name, extension: str
) -> None:
    assume(not pattern.exact and pattern.matches(name))
    assert pattern.matches(name.extend(extension))


@given(some.small_names, some.small_names, some.small_names)
def test_extension_is_a_strict_order(one: Name, two: Name, three: Name) -> None:
    assert not one.is_extension_of(one)
    assert not (one.is_extension_of(two) and two.is_extension_of(one))
    if one.is_extension_of(two) and two.is_extension_of(three):
        assert one.is_extension_of(three)


@given(some.access_lists, some.small_patterns, st.lists(some.small_names, max_size=3))
def test_refusing_more_never_allows_more_and_allowing_more_never_refuses(
    one: AccessList, pattern: Pattern, names: list[Name]
) -> None:
    if not one.allows(names):
        assert not AccessList(one.allowed, (*one.refused, pattern)).allows(names)
    else:
        assert AccessList((*one.allowed, pattern), one.refused).allows(names)


@given(some.access_lists, st.lists(some.small_names, max_size=3))
def test_an_access_list_allows_what_its_definition_says(one: AccessList, names: list[Name]) -> None:
    admitted = [name for name in names if any(pattern.matches(name) for pattern in one.allowed)]
    covered = [name for name in names if any(pattern.matches(name) for pattern in one.refused)]
    assert one.allows(names) is (bool(admitted) and not covered)


@given(st.dictionaries(st.from_regex(r"[A-Z][a-z]{0,8}", fullmatch=True), some.access_lists, max_size=3))
def test_permissions_survive_their_values(lists: dict[str, AccessList]) -> None:
    permissions = Permissions(lists)
    assert Permissions.from_value(permissions.to_value()) == permissions
    assert Permissions.parse(canonical.encode(permissions.to_value())) == permissions


@given(some.json_values)
def test_canonical_json_survives_and_has_one_spelling(value: JSON) -> None:
    encoded = canonical.encode(value)
    assert canonical.parse(encoded) == value
    assert canonical.encode(canonical.parse(encoded)) == encoded


@given(st.binary(max_size=60))
def test_what_canonical_json_accepts_it_would_spell_the_same(data: bytes) -> None:
    try:
        value = canonical.parse(data)
    except InvalidCaveat:
        return
    assert canonical.encode(value) == data


@given(some.caveats)
def test_a_caveat_survives_its_json(caveat: Caveat) -> None:
    assert kinds.parse(caveat.to_json()) == caveat


@given(st.booleans(), st.lists(some.caveats, max_size=4))
def test_restrictions_survive_their_extension(delegation: bool, restrictions: list[Caveat]) -> None:
    assume(delegation or restrictions)
    made = Restrictions(delegation, tuple(restrictions))
    assert parse_restrictions(made.to_extension().value) == made


@given(some.third_parties, some.third_parties)
def test_two_third_party_caveats_have_one_identifier_only_when_they_are_equal(
    one: ThirdParty, two: ThirdParty
) -> None:
    assert (one.identifier == two.identifier) is (one == two)


@given(some.principals, some.principals, st.binary(max_size=40), st.binary(max_size=40))
def test_a_signature_is_of_one_key_and_one_message(
    one: Principal, two: Principal, message: bytes, other: bytes
) -> None:
    signature = one.sign(message)
    assert verify_signature(two.public_key, other, signature) is (one is two and message == other)


@settings(max_examples=40)
@given(some.principals, st.lists(some.component, min_size=1, max_size=4), some.principals)
def test_bless_then_verify_proves_the_extended_name(
    blesser: Principal, extensions: list[str], blessed: Principal
) -> None:
    """Root, a leaf, and any number of delegates, of keys of both kinds."""
    root = Authority.create_root(Name.parse("acme"), blesser, now=NOW, lifetime=YEAR)
    current = Principal.create()
    blessing = root.bless(current.public_key, "web", now=NOW, lifetime=HOUR)
    expected = Name.parse("acme:web")
    for one in extensions:
        blessing = delegate(current, blessing, blessed.public_key, one, now=NOW, lifetime=HOUR)
        current, expected = blessed, expected.extend(one)
    roots = Roots.of(root.certificate)
    assert verify_blessing(blessing, roots, now=NOW, policy=WITH_DELEGATION) == expected
    assert Blessing.from_pem(blessing.to_pem()) == Blessing.from_der(blessing.to_der()) == blessing
    assert blessing.is_svid is False


@settings(max_examples=60)
@given(
    st.lists(some.caveats, max_size=2),
    some.caveats,
    calls,
    st.timedeltas(timedelta(hours=-2), timedelta(hours=2)),
)
def test_adding_a_caveat_never_widens(
    before: list[Caveat], added: Caveat, call: Call, later: timedelta
) -> None:
    principal = some.PRINCIPALS[0]
    now = NOW + later

    def with_caveats(every: list[Caveat]) -> Blessing:
        return delegate(
            ONE.replica, ONE.blessing, principal.public_key, "x", now=NOW, lifetime=HOUR, caveats=every
        )

    without, with_it = with_caveats(before), with_caveats([*before, added])
    assert holds(without, now, call) or not holds(with_it, now, call)
    # A verifier that knows fewer kinds accepts no more.
    assert holds(with_it, now, call) or not holds(with_it, now, call, Policy(max_delegations=5))


@settings(max_examples=60)
@given(some.principals, some.third_parties, st.lists(some.plain_caveats, max_size=2))
def test_a_discharge_survives_and_is_for_its_caveat_and_key_only(
    other: Principal, caveat: ThirdParty, restrictions: list[Caveat]
) -> None:
    owner = next(one for one in some.PRINCIPALS if one.public_key == caveat.discharger)
    free = ThirdParty(caveat.discharger, caveat.location, caveat.nonce)
    made = discharge(
        owner,
        free,
        now=NOW,
        call=Call(),
        registry=NO_CUSTOM_CAVEATS,
        discharges=Discharges(),
        caveats=restrictions,
    )
    assert Discharge.parse(made.encode()) == made
    assert made.is_signed_by(other.public_key) is (other is owner)
    assert not Discharge("0" * 64, made.caveats, made.signature).is_signed_by(owner.public_key)


@settings(max_examples=20)
@given(
    st.lists(some.principals, max_size=3),
    st.one_of(st.none(), st.integers(0, 2**40)),
    st.one_of(st.none(), st.integers(0, 2**20)),
)
def test_a_trust_bundle_survives_its_json(
    roots: list[Principal], sequence: int | None, hint: int | None
) -> None:
    name = Name.parse("acme")
    made = Roots.of(*(Authority.create_root(name, one, now=NOW, lifetime=YEAR).certificate for one in roots))
    bundle = TrustBundle.of(made, name, sequence=sequence, refresh_hint=hint)
    assert TrustBundle.parse(bundle.to_json(), name) == bundle
    assert bundle.roots == made


@pytest.mark.parametrize("kind", ["Expiry", "expiry2", "method", ""])
def test_an_unknown_kind_never_holds(kind: str) -> None:
    blessing = delegate(
        ONE.replica,
        ONE.blessing,
        Principal.create().public_key,
        "x",
        now=NOW,
        lifetime=HOUR,
        caveats=[kinds.parse({"kind": kind, "at": "2999-01-01T00:00:00Z"})],
    )
    assert not holds(blessing, NOW, Call("Get", (Name.parse("acme"),)))
