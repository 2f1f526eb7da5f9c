"""A sample of `python -m tests.blessings.mutants`, and that its judge can say no."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

import pytest

from tests.blessings.mutants import Mutant, Subject, endless, every_bit, every_field, judge, subjects

ROUND = 2_000
# What the library refuses with an error of its own, cryptography warns of as well.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


@pytest.mark.parametrize("subject", subjects(), ids=lambda one: one.title)
def test_the_unchanged_chain_proves_its_name(subject: Subject) -> None:
    unchanged = Mutant("unchanged", subject.der, lambda name, _: str(name) == subject.names[0])
    assert judge(subject, unchanged) == "proves what it may"


def test_no_mutant_of_a_sample_proves_what_it_should_not() -> None:
    rng = random.Random(2026)
    outcomes = {judge(subject, mutant) for subject, mutant in islice(endless(rng), ROUND)}
    for subject in subjects():
        step = rng.randint(50, 60)
        outcomes |= {judge(subject, one) for one in every_field(subject, rng, step)}
        outcomes |= {judge(subject, one) for one in every_bit(subject, step)}
    assert len(outcomes) > 10


def test_a_mutant_that_proves_too_much_would_be_noticed() -> None:
    subject = subjects()[0]
    too_much = replace(next(every_bit(subject)), certificates=subject.der, may_prove=lambda _name, _: False)
    with pytest.raises(AssertionError, match="proves acme:web:web-1"):
        judge(subject, too_much)
