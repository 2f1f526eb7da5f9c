"""What is told of Pods without an identity, by values and a turned clock."""

from __future__ import annotations

from webhook.notices.ledger import (
    BURST_OF_NAMESPACE,
    MOST_NAMESPACES,
    MOST_OF_NAMESPACE,
    REPEAT_SECONDS,
    Key,
    Ledger,
    Notice,
)
from webhook.notices.subject import Subject

WEB = Subject("apps/v1", "ReplicaSet", "web-7d9f", "1")


def key(number: int = 0) -> Key:
    return Key(WEB._replace(name=f"web-{number}"), "VolumeClash")


def noted(ledger: Ledger, *numbers: int, namespace: str = "shop", now: float = 0.0) -> list[bool]:
    return [ledger.note(namespace, key(one), "why", is_warning=True, now=now) for one in numbers]


def names(notices: list[Notice]) -> list[str]:
    return [f"{one.namespace}/{one.subject.name}" for one in notices]


def test_what_is_repeated_is_one_event_with_a_count() -> None:
    ledger = Ledger()
    noted(ledger, *[0] * 1000)
    (first,) = ledger.due(1.0)
    assert (first.subject.name, first.times, first.reason) == ("web-0", 1000, "VolumeClash")
    noted(ledger, *[0] * 7, now=2.0)
    assert ledger.due(REPEAT_SECONDS) == []
    (second,) = ledger.due(REPEAT_SECONDS + 2)
    assert second.times == 7


def test_attack_a_namespace_with_many_refused_owners_costs_another_one_no_event() -> None:
    ledger = Ledger()
    assert sum(noted(ledger, *range(10_000), namespace="hostile")) == MOST_OF_NAMESPACE
    assert noted(ledger, 0, namespace="shop") == [True]
    due = names(ledger.due(1.0))
    assert "shop/web-0" in due[:2]
    assert len(due) == BURST_OF_NAMESPACE + 1


def test_attack_what_is_kept_of_all_namespaces_is_bounded() -> None:
    ledger = Ledger()
    kept = [noted(ledger, 0, namespace=f"n{number}")[0] for number in range(MOST_NAMESPACES + 10)]
    assert sum(kept) == MOST_NAMESPACES
    # They are told in time, and forgotten: then there is room for others.
    told = 0
    for second in range(0, 2 * int(REPEAT_SECONDS), 2):
        told += len(ledger.due(float(second)))
    assert told == MOST_NAMESPACES
    assert noted(ledger, 0, namespace="late", now=2 * REPEAT_SECONDS) == [True]


def test_what_had_to_wait_is_told_later_and_keeps_its_count() -> None:
    ledger = Ledger()
    noted(ledger, *range(20))
    noted(ledger, *range(20))
    assert len(ledger.due(0.0)) == BURST_OF_NAMESPACE
    later = ledger.due(300.0)
    assert [one.times for one in later] == [2] * int(BURST_OF_NAMESPACE)
