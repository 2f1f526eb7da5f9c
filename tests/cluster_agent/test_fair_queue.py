"""Turns of tenants, and whose item gives way in a full queue."""

from __future__ import annotations

from cluster_agent.fair_queue import FairQueue


def filled(most: int, *items: str) -> FairQueue[str]:
    """A queue with these items, whose names are their tenants' paths and a number, such as shop/web/1."""
    queue: FairQueue[str] = FairQueue(most)
    for item in items:
        assert queue.put(item, item.split("/")[:-1]) is None
    return queue


def all_of(queue: FairQueue[str]) -> list[str]:
    taken = []
    while (item := queue.take()) is not None:
        taken.append(item)
    return taken


def test_tenants_have_turns_and_each_ones_items_their_order() -> None:
    queue = filled(9, "a/1", "a/2", "a/3", "b/1", "c/1", "c/2")
    assert all_of(queue) == ["a/1", "b/1", "c/1", "a/2", "c/2", "a/3"]
    assert len(queue) == 0


def test_attack_a_tenant_has_one_turn_however_many_are_below_it() -> None:
    queue = filled(99, *(f"shop/account-{number}/1" for number in range(4)), "bank/teller/1", "bank/teller/2")
    assert all_of(queue)[:4] == ["shop/account-0/1", "bank/teller/1", "shop/account-1/1", "bank/teller/2"]


def test_a_tenant_and_one_below_it_have_turns_as_any_two() -> None:
    assert all_of(filled(9, "a/1", "a/2", "a/b/1")) == ["a/1", "a/b/1", "a/2"]


def test_attack_a_full_queue_drops_the_youngest_of_the_tenant_that_has_most() -> None:
    queue = filled(5, "shop/x/1", "shop/y/1", "shop/y/2", "bank/z/1", "bank/z/2")
    assert queue.put("cafe/q/1", ("cafe", "q")) == "shop/y/2"
    assert len(queue) == 5
    assert sorted(all_of(queue)) == ["bank/z/1", "bank/z/2", "cafe/q/1", "shop/x/1", "shop/y/1"]


def test_a_newcomer_of_the_tenant_that_has_most_is_refused_and_no_other_gives_way() -> None:
    queue = filled(3, "a/1", "a/2", "b/1")
    assert queue.put("a/3", ("a",)) == "a/3"
    assert queue.put("b/2", ("b",)) == "a/2"
    assert queue.put("b/3", ("b",)) == "b/3"
    assert all_of(queue) == ["a/1", "b/1", "b/2"]


def test_within_a_tenant_the_one_below_it_that_has_most_gives_way() -> None:
    queue = filled(4, "shop/x/1", "shop/x/2", "shop/x/3", "bank/z/1")
    assert queue.put("shop/y/1", ("shop", "y")) == "shop/x/3"
    assert sorted(all_of(queue)) == ["bank/z/1", "shop/x/1", "shop/x/2", "shop/y/1"]


def test_what_is_removed_has_no_turn_and_leaves_room() -> None:
    queue = filled(2, "a/1", "b/1")
    assert queue.remove("a/1", ("a",))
    assert not queue.remove("a/1", ("a",))
    assert not queue.remove("b/2", ("b",))
    assert queue.put("c/1", ("c",)) is None
    assert all_of(queue) == ["b/1", "c/1"]


def test_tenants_that_may_have_no_turn_are_passed_over() -> None:
    queue = filled(9, "a/1", "b/1", "a/2")
    assert queue.take(lambda first: first != "a") == "b/1"
    assert queue.take(lambda first: first != "a") is None
    assert all_of(queue) == ["a/1", "a/2"]
