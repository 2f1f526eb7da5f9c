"""What tables and other formats look like, to the letter."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from vkube.output.documents import Column, Listing, document
from vkube.output.table import table
from vkube.output.times import age, duration, left

LISTING = Listing(
    "Replica",
    "replicas",
    (
        Column("NAME", lambda item: item["name"]),
        Column("LEFT", lambda item: item["left"]),
        Column("KEY", lambda item: item.get("key"), wide=True),
    ),
    lambda item: str(item["name"]),
)
ITEMS = [
    {"name": "acme:prod:shop:web:web-1", "left": "45m"},
    {"name": "acme:x", "left": "1m", "key": "3d:92"},
]


def test_a_table_has_no_lines_and_no_trailing_blanks() -> None:
    assert LISTING.text(ITEMS, "table") == (
        "NAME                       LEFT\n"
        "acme:prod:shop:web:web-1   45m\n"
        "acme:x                     1m\n"
    )  # fmt: skip
    assert LISTING.text(ITEMS, "wide") == (
        "NAME                       LEFT   KEY\n"
        "acme:prod:shop:web:web-1   45m    <none>\n"
        "acme:x                     1m     3d:92\n"
    )


def test_attack_a_name_with_an_escape_sequence_does_not_reach_the_terminal() -> None:
    assert table(["NAME"], [["a\x1b[2Jb\nc"]]) == "NAME\na�[2Jb�c"


@pytest.mark.parametrize("output", ["table", "name", "json", "yaml"])
def test_attack_no_format_gives_the_terminal_a_control_character(output: str) -> None:
    """\x9b begins an escape sequence in one character, and \u202e turns the direction of writing."""
    items = [{"name": "a\x1b[2J\x9b2J\u202eb\nc\U000e0001é", "left": "\x7f"}]
    shown = LISTING.text(items, output)
    assert all(one.isprintable() for one in shown.split("\n"))
    if output in ("json", "yaml"):
        read = json.loads(shown) if output == "json" else yaml.safe_load(shown)
        assert read["items"] == items


def test_the_other_formats_have_every_field() -> None:
    assert json.loads(LISTING.text(ITEMS, "json")) == {"kind": "ReplicaList", "items": ITEMS}
    assert yaml.safe_load(LISTING.text(ITEMS, "yaml")) == {"kind": "ReplicaList", "items": ITEMS}
    assert LISTING.text(ITEMS, "name") == "replica/acme:prod:shop:web:web-1\nreplica/acme:x\n"
    assert document({"a": 1}, "table") is None


def test_no_items_is_a_note_and_an_empty_result(capsys: pytest.CaptureFixture[str]) -> None:
    LISTING.show([], "table")
    LISTING.show([], "name")
    assert capsys.readouterr() == ("", "no replicas found\n")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (125, "2m5s"), (120, "2m"), (3600, "60m"), (4 * 3600, "4h"),
     (4 * 3600 + 125, "4h2m"), (20 * 3600, "20h"), (86400 * 12 + 5, "12d")],
)  # fmt: skip
def test_durations_are_as_kubectl_prints_them(seconds: int, shown: str) -> None:
    assert duration(timedelta(seconds=seconds)) == shown


def test_ages_and_what_is_left() -> None:
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    assert age("2026-11-28T11:58:00+00:00", now) == "2m"
    assert left("2026-11-28T12:30:00Z", now) == "30m"
    assert left("2026-11-28T12:00:00Z", now) == "expired"
    assert (age(None, now), left(None, now)) == ("", "")
