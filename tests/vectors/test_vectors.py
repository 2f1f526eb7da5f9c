"""Every stored vector, judged by the library; and that they are what the generator makes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from blessings import (
    Blessing,
    Call,
    CaveatRegistry,
    Discharge,
    Discharges,
    InvalidAccessList,
    InvalidBundle,
    InvalidCaveat,
    InvalidCertificate,
    InvalidName,
    InvalidPattern,
    KeyKind,
    Name,
    Pattern,
    Permissions,
    Policy,
    Principal,
    Reason,
    Roots,
    TrustBundle,
    VerificationError,
    keys,
    verify_blessing,
    verify_signature,
)
from blessings.caveats import kinds
from blessings.caveats.discharges import encode_request, parse_request
from blessings.caveats.kinds import Check
from blessings.encoding import canonical
from blessings.encoding.canonical import JSON
from blessings.profile.restrictions import Restrictions
from blessings.profile.restrictions import parse as parse_restrictions
from tests.vectors.__main__ import FILES, FOLDER, text

Vector = dict[str, Any]


def stored(file: str) -> list[Any]:
    document = json.loads((FOLDER / f"{file}.json").read_text())
    assert document["version"] == 1
    return [
        pytest.param(one, id=one.get("name", f"{file}{at}")) for at, one in enumerate(document["vectors"])
    ]


@pytest.mark.parametrize("file", FILES)
def test_what_is_stored_is_what_the_generator_makes(file: str) -> None:
    assert (FOLDER / f"{file}.json").read_text() == text(file)


@pytest.mark.parametrize("one", stored("names"))
def test_a_name_is_as_its_vector_says(one: Vector) -> None:
    parse, spelled = (Name.parse, one["text"]) if "text" in one else (Name.from_spiffe_id, one["spiffeId"])
    if one.get("invalid"):
        with pytest.raises(InvalidName):
            parse(spelled)
        return
    assert parse(spelled).spiffe_id == one["spiffeId"]
    assert str(Name.from_spiffe_id(one["spiffeId"])) == one["text"]


@pytest.mark.parametrize("one", stored("patterns"))
def test_a_pattern_is_as_its_vector_says(one: Vector) -> None:
    if one.get("invalid"):
        with pytest.raises(InvalidPattern):
            Pattern.parse(one["pattern"])
        return
    pattern = Pattern.parse(one["pattern"])
    assert str(pattern) == one["pattern"]
    assert all(pattern.matches(Name.parse(name)) for name in one["matches"])
    assert not any(pattern.matches(Name.parse(name)) for name in one["doesNotMatch"])


@pytest.mark.parametrize("one", stored("access_lists"))
def test_an_access_list_is_as_its_vector_says(one: Vector) -> None:
    if one.get("invalid"):
        with pytest.raises(InvalidAccessList):
            Permissions.parse(one["permissions"])
        return
    proven = [Name.parse(name) for name in one["names"]]
    assert Permissions.parse(one["permissions"]).allows(one["tag"], proven) is one["allowed"]


def parse_caveat(text: str) -> kinds.Caveat:
    return kinds.parse(canonical.parse(text.encode()))


@pytest.mark.parametrize("one", stored("caveats"))
def test_a_caveat_is_as_its_vector_says(one: Vector) -> None:
    if one.get("invalid"):
        with pytest.raises(InvalidCaveat):
            parse_caveat(one["json"]) if "json" in one else parse_restrictions(
                bytes.fromhex(one["extension"])
            )
        return
    caveat = parse_caveat(one["json"])
    assert type(caveat).__name__.lower() == {
        "peerBlessings": "peerblessings",
        "thirdParty": "thirdparty",
    }.get(one["kind"], one["kind"])
    assert canonical.encode(caveat.to_json()).decode() == one["json"]
    restrictions = parse_restrictions(bytes.fromhex(one["extension"]))
    assert restrictions == Restrictions(False, (caveat,))
    assert restrictions.to_extension().value.hex() == one["extension"]
    if "identifier" in one:
        assert isinstance(caveat, kinds.ThirdParty)
        assert caveat.identifier == one["identifier"]


@pytest.mark.parametrize("one", stored("discharges"))
def test_a_discharge_is_as_its_vector_says(one: Vector) -> None:
    if one.get("invalid"):
        with pytest.raises(InvalidCaveat):
            Discharge.parse(one["discharge"]) if "discharge" in one else parse_request(
                one["request"].encode()
            )
        return
    caveat, discharge = parse_request(one["request"].encode()), Discharge.parse(one["discharge"])
    assert encode_request(caveat).decode() == one["request"]
    assert discharge.encode().decode() == one["discharge"]
    assert discharge.caveat == caveat.identifier
    assert discharge.is_signed_by(caveat.discharger) is one["signed"]


@pytest.mark.parametrize("one", stored("signatures"))
def test_a_signature_is_as_its_vector_says(one: Vector) -> None:
    key, message = keys.parse_public_key(one["publicKey"]), bytes.fromhex(one["message"])
    assert verify_signature(key, message, bytes.fromhex(one["signature"])) is one["valid"]
    assert verify_signature(key, message, Principal.from_pem(one["privateKey"].encode()).sign(message))


@pytest.mark.parametrize("one", stored("bundles"))
def test_a_bundle_is_as_its_vector_says(one: Vector) -> None:
    trust_domain = Name.parse(one["trustDomain"])
    if one.get("invalid"):
        with pytest.raises(InvalidBundle):
            TrustBundle.parse(one["bundle"], trust_domain)
        return
    bundle = TrustBundle.parse(one["bundle"], trust_domain)
    assert len(bundle.roots) == one["x509Roots"]
    assert all(str(root.pattern) == one["trustDomain"] for root in bundle.roots)
    assert TrustBundle.parse(bundle.to_json(), trust_domain) == bundle


@pytest.mark.parametrize("one", stored("encodings"))
def test_an_encoding_is_as_its_vector_says(one: Vector) -> None:
    if one.get("invalid"):
        with pytest.raises(InvalidCertificate) as caught:
            Blessing.from_pem(one["pem"]) if "pem" in one else Blessing.from_der(bytes.fromhex(one["der"]))
        assert caught.value.certificate == one["certificate"]
        return
    blessing = Blessing.from_pem(one["pem"])
    assert blessing == Blessing.from_der(bytes.fromhex(one["der"]))
    assert len(blessing.certificates) == one["certificates"]
    assert blessing.to_der().hex() == one["der"]


def judge(one: Vector, blessing: Blessing) -> Vector:
    """What the library answers for a chain in the circumstances of a vector, spelled as `expected`."""
    policy, registry = one["policy"], CaveatRegistry()
    for kind, parameters in policy.get("customCaveats", {}).items():
        registry = registry.with_check(kind, _equal_to(parameters))
    try:
        name = verify_blessing(
            blessing,
            Roots.from_json(one["roots"]),
            now=datetime.fromisoformat(one["now"]),
            policy=Policy(
                policy["maxDelegations"],
                policy.get("maxChainLength", 16),
                frozenset(KeyKind(kind) for kind in policy.get("keyKinds", KeyKind)),
                registry,
            ),
            call=Call(one["call"]["method"], tuple(Name.parse(name) for name in one["call"]["ownNames"])),
            discharges=Discharges(tuple(Discharge.from_json(value) for value in one["discharges"])),
        )
    except VerificationError as error:
        return {"reason": str(error.reason), "certificate": error.certificate, "field": error.field}
    return {"name": str(name)}


def _equal_to(expected: JSON) -> Check:
    return lambda parameters, _call, _now: None if parameters == expected else "it is for another"


@pytest.mark.parametrize("one", stored("chains"))
def test_a_chain_proves_what_its_vector_says(one: Vector) -> None:
    blessing = Blessing.from_pem(one["chain"])
    assert judge(one, blessing) == one["expected"]
    assert judge(one, Blessing.from_der(blessing.to_der())) == one["expected"]


def test_every_reason_and_no_name_twice_is_among_the_vectors() -> None:
    vectors = json.loads((FOLDER / "chains.json").read_text())["vectors"]
    names = [one["name"] for one in vectors]
    assert len(set(names)) == len(names)
    reasons = {one["expected"].get("reason") for one in vectors} - {None}
    # The vectors' form has no revocation lists; tests/blessings/test_revocation.py has.
    with_lists = {Reason.REVOKED, Reason.REVOCATION_UNKNOWN}
    assert reasons == {str(reason) for reason in set(Reason) - with_lists}
