"""Access lists and permissions files."""

from __future__ import annotations

import json

import pytest
import yaml

from blessings import AccessList, InvalidAccessList, Name, Pattern, Permissions

YAML = """
Admin:
  in: ["acme:ops"]
  not_in: ["acme:ops:intern"]
Read:
  in: ["..."]
Nobody: {}
"""


def names(*texts: str) -> tuple[Name, ...]:
    return tuple(map(Name.parse, texts))


PERMISSIONS = Permissions.from_value(yaml.safe_load(YAML))


@pytest.mark.parametrize(
    ("tag", "valid", "allowed"),
    [
        ("Admin", ("acme:ops",), True),
        ("Admin", ("acme:ops:alice",), True),
        ("Admin", ("acme:opsx",), False),
        ("Admin", ("acme:ops:intern",), False),
        ("Admin", ("acme:ops:intern:bob",), False),
        ("Admin", ("acme:ops:internal",), True),
        ("Admin", ("acme:ops:alice", "acme:ops:intern"), False),
        ("Admin", ("other", "acme:ops"), True),
        ("Admin", (), False),
        ("Read", ("anybody",), True),
        ("Read", (), False),
        ("Nobody", ("acme:ops",), False),
        ("Unknown", ("acme:ops",), False),
    ],
)
def test_a_tag_allows_whom_its_list_says(tag: str, valid: tuple[str, ...], allowed: bool) -> None:
    assert PERMISSIONS.allows(tag, names(*valid)) is allowed


def test_json_and_yaml_are_the_same_file() -> None:
    assert Permissions.parse(json.dumps(yaml.safe_load(YAML))) == PERMISSIONS
    assert Permissions.from_value(yaml.safe_load(yaml.safe_dump(PERMISSIONS.to_value()))) == PERMISSIONS


def test_an_empty_list_allows_nobody() -> None:
    assert not AccessList().allows(names("acme"))
    assert not AccessList(refused=(Pattern.parse("other"),)).allows(names("acme"))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "cannot be read"),
        ("[]", "object of tags"),
        ('{"": {}}', "tag"),
        ('{"Admin": []}', "Admin must be"),
        ('{"Admin": {"In": ["acme"]}}', "only, got 'In'"),
        ('{"Admin": {"in": "acme"}}', "Admin.in must be a list"),
        ('{"Admin": {"in": [1]}}', r"Admin.in\[0\]"),
        ('{"Admin": {"not_in": ["acme", "a b"]}}', r"Admin.not_in\[1\]"),
        ('{"Admin": {"in": ["acme"]}, "Admin": {"in": ["..."]}}', "twice"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_place(text: str, where: str) -> None:
    with pytest.raises(InvalidAccessList, match=where):
        Permissions.parse(text)


def test_yaml_values_that_json_has_not_are_refused() -> None:
    for text in ("1: {in: [acme]}", "Admin: {in: [2026-11-24]}", "Admin: {in: [yes]}", "Admin: {1: [acme]}"):
        with pytest.raises(InvalidAccessList):
            Permissions.from_value(yaml.safe_load(text))
