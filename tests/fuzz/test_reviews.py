"""A small part of `python -m tests.fuzz.reviews`, which is the real thing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.fuzz import reviews
from tests.fuzz.review_mutants import Mutants
from tests.fuzz.reviews import decided, sent, tried
from tests.webhook.serving import running_webhook


def test_mutants_of_reviews_are_answered_by_the_pure_function() -> None:
    counts, findings = tried(Mutants(), range(1500), decided)
    assert findings == []
    some = {"allowed Injected", "allowed VolumeInjected", "refused MalformedPod", "400 InvalidJSON"}
    assert some < set(counts)


def test_mutants_of_reviews_are_answered_by_the_program(tmp_path: Path) -> None:
    with running_webhook(tmp_path) as webhook, webhook.client() as client:
        _, findings = tried(Mutants(), range(200), partial(sent, client))
        assert findings == []
    assert not [line for line in webhook.lines if line["level"] == "error"]


def test_a_mutant_that_is_answered_wrongly_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {number: decided(Mutants().body(number)) for number in range(20)}
    other = iter([answers[(number + 1) % 20] for number in range(20)])
    assert len(tried(Mutants(), range(20), lambda _: next(other))[1]) > 5

    def broken(*_: object, **__: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(reviews, "admit", broken)
    assert "ZeroDivisionError" in tried(Mutants(), range(20), decided)[1][0]
