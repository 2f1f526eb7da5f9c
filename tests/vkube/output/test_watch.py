"""What a watch prints, to the letter."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.vkube.output.test_formats import LISTING
from vkube.output.watch import Change, WatchOutput, changes

FIRST, SECOND = {"name": "acme:a", "left": "45m"}, {"name": "acme:prod:longer", "left": "1m"}
RENEWED = {**FIRST, "left": "60m"}


def name(item: dict[str, str]) -> str:
    return item["name"]


def test_items_are_told_apart_by_their_key() -> None:
    assert changes([], [FIRST], name) == [("ADDED", FIRST)]
    assert changes([FIRST, SECOND], [SECOND, FIRST], name) == []
    assert changes([FIRST, SECOND], [RENEWED], name) == [("DELETED", SECOND), ("MODIFIED", RENEWED)]


def printed(capsys: pytest.CaptureFixture[str], output: str, *, with_events: bool) -> str:
    shown = WatchOutput(output, with_events=with_events)
    shown.show(LISTING, [Change("ADDED", FIRST)])
    shown.show(LISTING, [Change("ADDED", SECOND)])
    shown.show(LISTING, [Change("DELETED", FIRST), Change("MODIFIED", SECOND)])
    return capsys.readouterr().out


def test_a_table_has_one_header_the_event_and_no_narrower_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "table", with_events=False) == (
        "EVENT      NAME     LEFT\n"
        "ADDED      acme:a   45m\n"
        "ADDED      acme:prod:longer   1m\n"
        "DELETED    acme:a             45m\n"
        "MODIFIED   acme:prod:longer   1m\n"
    )


def test_other_formats_have_events_and_deletions_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "name", with_events=False).split() == [
        "replica/acme:a",
        "replica/acme:prod:longer",
        "replica/acme:prod:longer",
    ]
    assert printed(capsys, "name", with_events=True).splitlines()[2] == "DELETED  replica/acme:a"
    decoder, text, found = json.JSONDecoder(), printed(capsys, "json", with_events=True), []
    while text:
        one, end = decoder.raw_decode(text)
        found.append(one)
        text = text[end:].lstrip()
    assert found[0] == {"type": "ADDED", "object": FIRST}
    assert [one["type"] for one in found] == ["ADDED", "ADDED", "DELETED", "MODIFIED"]
    assert list(yaml.safe_load_all(printed(capsys, "yaml", with_events=False))) == [FIRST, SECOND, SECOND]
