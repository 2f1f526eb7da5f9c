"""The grammar of blessing names and patterns, and their SPIFFE IDs."""

from __future__ import annotations

import pytest
from hypothesis import given

from blessings import InvalidName, InvalidPattern, Name, Pattern
from tests.blessings.strategies import component, names


@given(names)
def test_a_name_survives_both_its_spellings(name: Name) -> None:
    assert Name.parse(str(name)) == name
    assert Name.from_spiffe_id(name.spiffe_id) == name


@given(names, component)
def test_an_extension_extends_and_nothing_extends_itself(name: Name, extension: str) -> None:
    assert name.extend(extension).is_extension_of(name)
    assert not name.is_extension_of(name)
    assert not name.is_extension_of(name.extend(extension))


@pytest.mark.parametrize(
    "text",
    ["", ":", "acme:", ":acme", "acme::web", "acme:.", "acme:..", "acme:a b", "acme:a/b", "Acme:web",
     "acme:wéb", "acme:web\n", "acme:" + "x" * 254, "acme:a\x00", "acme:%2e",
     ":".join(["acme"] + ["x" * 250] * 9)],
)  # fmt: skip
def test_a_name_outside_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        Name.parse(text)


@pytest.mark.parametrize(
    "uri",
    ["", "acme/web", "http://acme/web", "SPIFFE://acme/web", "spiffe://", "spiffe:///web", "spiffe://acme/",
     "spiffe://acme//web", "spiffe://acme:80/web", "spiffe://user@acme/web", "spiffe://acme/web?x",
     "spiffe://acme/w#x",
     "spiffe://acme/../web", "spiffe://acme/%61", "spiffe://ACME/web"],
)  # fmt: skip
def test_a_uri_that_is_no_spiffe_id_is_refused(uri: str) -> None:
    with pytest.raises(InvalidName):
        Name.from_spiffe_id(uri)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("acme:web", "acme:web", True),
        ("acme:web", "acme:web:web-1", True),
        ("acme:web", "acme:website", False),
        ("acme:web", "acme", False),
        ("acme:web:$", "acme:web", True),
        ("acme:web:$", "acme:web:web-1", False),
        ("...", "anybody:at:all", True),
    ],
)
def test_a_pattern_matches_by_whole_components(pattern: str, name: str, matches: bool) -> None:
    assert Pattern.parse(pattern).matches(Name.parse(name)) is matches


@pytest.mark.parametrize("text", ["", "$", ":$", "acme:...", "acme:$:$", "acme:*", "acme:web:"])
def test_a_pattern_outside_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidPattern):
        Pattern.parse(text)


@pytest.mark.parametrize("text", ["acme:web", "acme:web:$", "..."])
def test_a_pattern_survives_its_spelling(text: str) -> None:
    assert str(Pattern.parse(text)) == text
