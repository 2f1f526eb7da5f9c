"""The published schemas are those of what we write, and refuse what we refuse where a schema can."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource

from blessings import Caveat, Discharge, ThirdParty
from blessings.caveats.discharges import encode_request
from blessings.encoding import canonical
from blessings.profile.restrictions import Restrictions
from tests.blessings import strategies as some

SCHEMAS: dict[str, Any] = {
    name: json.loads((files("blessings") / "schemas" / f"{name}-v1.schema.json").read_text())
    for name in ("caveats", "discharge")
}
REGISTRY: Registry[Any] = Registry().with_resources(
    [(schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()]
)


def validator(name: str, part: str | None = None) -> Draft202012Validator:
    schema = SCHEMAS[name] if part is None else {"$ref": f"{SCHEMAS[name]['$id']}#/$defs/{part}"}
    return Draft202012Validator(schema, registry=REGISTRY)


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_a_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@given(st.booleans(), st.lists(some.caveats, min_size=1, max_size=4))
def test_restrictions_are_of_their_schema(delegation: bool, caveats: list[Caveat]) -> None:
    validator("caveats").validate(Restrictions(delegation, tuple(caveats)).to_json())


@given(some.third_parties, st.lists(some.caveats, max_size=3), st.binary(max_size=80))
def test_discharges_and_requests_are_of_their_schema(
    caveat: ThirdParty, caveats: list[Caveat], signature: bytes
) -> None:
    validator("discharge").validate(Discharge(caveat.identifier, tuple(caveats), signature).to_json())
    validator("discharge", "request").validate(canonical.parse(encode_request(caveat)))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"version": 2, "delegation": True, "caveats": []},
        {"version": 1, "delegation": False, "caveats": []},
        {"version": 1, "delegation": True, "caveats": [], "more": 1},
        {"version": 1, "delegation": True, "caveats": [{}]},
        {"version": 1, "delegation": True, "caveats": [{"kind": "expiry"}]},
        {"version": 1, "delegation": True, "caveats": [{"kind": "expiry", "at": "2026-11-24"}]},
        {"version": 1, "delegation": True, "caveats": [{"kind": "methods", "methods": []}]},
        {"version": 1, "delegation": True, "caveats": [{"kind": "methods", "methods": ["a b"]}]},
        {"version": 1, "delegation": True, "caveats": [{"kind": "peerBlessings", "patterns": []}]},
        {"version": 1, "delegation": True, "caveats": [{"kind": "thirdParty"}]},
        {"version": 1, "delegation": True, "caveats": [{"kind": "a"}] * 33},
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(value: Any) -> None:
    with pytest.raises(ValidationError):
        validator("caveats").validate(value)
