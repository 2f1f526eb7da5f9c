"""Roots, and who may be one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from blessings import (
    Authority,
    Blessing,
    CannotBless,
    InvalidCertificate,
    Name,
    Pattern,
    Principal,
    Root,
    Roots,
)
from blessings.errors import InvalidName
from tests.chains import HOUR, NOW, realm

ONE, OTHER = realm(), realm("other")


def test_roots_survive_pem_and_add_up() -> None:
    both = ONE.roots + OTHER.roots
    assert Roots.from_pem(both.to_pem()) == both
    assert len(both) == 2


def test_the_roots_for_a_name_are_those_whose_pattern_matches() -> None:
    both = ONE.roots + OTHER.roots
    assert both.trusted_for(Name.parse("other:web")) == OTHER.roots
    assert both.trusted_for(Name.parse("third")) == Roots(())


def test_a_leaf_is_no_root() -> None:
    with pytest.raises(InvalidCertificate, match="signing certificate"):
        Roots.of(ONE.blessing.leaf)


def test_one_entry_holds_one_certificate() -> None:
    item = {"certificate": ONE.blessing.to_pem(), "pattern": "acme"}
    with pytest.raises(InvalidCertificate, match="one certificate"):
        Roots.from_json([item])


def test_a_root_has_a_name_of_one_component_and_a_blessing_a_certificate() -> None:
    with pytest.raises(CannotBless, match="one component"):
        Authority.create_root(Name.parse("acme:web"), Principal.create(), now=NOW, lifetime=HOUR)
    with pytest.raises(InvalidCertificate, match="at least one"):
        Blessing(())
    with pytest.raises(InvalidName, match="at least one"):
        Name(())


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Authority.create_root(
            Name.parse("acme"), Principal.create(), now=NOW.replace(tzinfo=None), lifetime=HOUR
        )


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(seconds=-30)])
def test_a_lifetime_that_is_none_is_refused(lifetime: timedelta) -> None:
    """A negative one would end within the time that certificates are backdated by."""
    with pytest.raises(CannotBless, match="lifetime"):
        ONE.application.bless(Principal.create().public_key, "x", now=NOW, lifetime=lifetime)


def test_what_a_root_says_is_read_once() -> None:
    root = Root(ONE.root.certificate, Pattern.parse("acme"))
    assert root.facts is root.facts
    assert ONE.blessing.facts(0) is ONE.blessing.facts(0)
