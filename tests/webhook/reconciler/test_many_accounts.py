"""Namespaces with very many service accounts: turn by turn, with a bounded number of calls in each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from certs import Stored
from service.errors import CallUnanswered
from tests.webhook.reconciler.cluster_agent_double import ROOTS, ClusterAgentDouble
from webhook.layout import ROOTS_KEY
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.entries import size
from webhook.reconciler.memory_secrets import MemorySecrets
from webhook.reconciler.plan import GRACE
from webhook.reconciler.reconcile import MOST_AT_ONCE, Turn, reconcile

NOW = datetime.now(UTC)
LONG_AGO = NOW - GRACE - timedelta(minutes=1)


class Namespace:
    """A namespace `shop` with its Secret and the cluster agent."""

    def __init__(self, accounts: int, store: MemorySecrets | None = None) -> None:
        self.accounts: frozenset[str] | None = frozenset(f"account-{one:05}" for one in range(accounts))
        # By the clock of the turns: a secret made later than that is one of a clock that is ahead.
        self.agent = ClusterAgentDouble(lambda: NOW)
        self.store = store or MemorySecrets()

    def turn(self, most: int = MOST_AT_ONCE) -> Turn:
        agent = cast(AgentSecrets, self.agent)
        return reconcile("shop", self.accounts, agent=agent, store=self.store, now=NOW, most=most)

    def turns(self) -> list[Turn]:
        found = [self.turn()]
        while not found[-1].is_last:
            found.append(self.turn())
        return found

    def stored(self) -> frozenset[str]:
        return frozenset(self.store.secrets["shop"]) - {ROOTS_KEY}


class Quota(MemorySecrets):
    """`secrets: "0"`."""

    def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
        raise OSError("exceeded quota")


def test_a_thousand_service_accounts_get_their_credentials_a_few_in_each_turn() -> None:
    shop = Namespace(1000)
    turns = shop.turns()
    assert shop.stored() == shop.accounts
    assert {turn.made for turn in turns} == {MOST_AT_ONCE}
    assert turns[-1].excess == ()
    assert shop.turn() == Turn()


def test_attack_only_the_excess_of_ten_thousand_service_accounts_goes_without() -> None:
    shop = Namespace(10_000)
    *turns, last = shop.turns()
    assert max(turn.made for turn in turns) == MOST_AT_ONCE
    assert shop.accounts == shop.stored() | set(last.excess)
    assert len(shop.stored()) > 1000
    assert size(shop.store.secrets["shop"]) < 1 << 20
    assert len(shop.agent.known) == len(shop.stored())
    # Nothing is made in vain, and who has a credential keeps it.
    had = shop.stored()
    assert shop.turn() == Turn(excess=last.excess)
    shop.accounts = (shop.accounts or frozenset()) | {"a-new-one-that-sorts-first"}
    assert "a-new-one-that-sorts-first" in shop.turn().excess
    assert shop.stored() == had
    # When some are deleted, the next has their room; that of one may be some bytes too little.
    shop.accounts -= set(sorted(had)[:2])
    shop.turns()
    assert "a-new-one-that-sorts-first" in shop.stored()


def test_what_was_made_before_the_cluster_agent_asked_to_wait_is_written() -> None:
    shop = Namespace(100)
    shop.agent.permitted = 31  # one for the list
    with pytest.raises(CallUnanswered):
        shop.turn()
    assert len(shop.stored()) == len(shop.agent.known) == 30
    assert shop.agent.forgotten == []
    shop.agent.permitted = float("inf")
    shop.turns()
    assert shop.stored() == shop.accounts
    assert shop.agent.made == 100


def test_attack_a_secret_that_cannot_be_written_costs_few_calls_and_leaves_nothing() -> None:
    shop = Namespace(1000, Quota())
    with pytest.raises(OSError, match="quota"):
        shop.turn(most=1)
    assert shop.agent.calls == 3
    assert shop.agent.known == {}


def test_a_revoked_application_keeps_none_of_the_others_waiting() -> None:
    shop = Namespace(120)
    shop.agent.revoked = frozenset(f"account-{one:05}" for one in range(60))
    shop.turns()
    assert shop.stored() == (shop.accounts or frozenset()) - shop.agent.revoked
    assert shop.turn() == Turn()


def test_leaks_of_earlier_rounds_are_forgotten_a_few_in_each_turn() -> None:
    shop = Namespace(10)
    shop.turns()
    kept = set(shop.agent.known)
    for one in range(120):
        shop.agent.add("shop", f"account-{one % 10:05}", LONG_AGO)
    for identifier in kept:  # made long ago too
        shop.agent.known[identifier] = replace(shop.agent.known[identifier], created_at=LONG_AGO)
    assert [turn.forgotten for turn in shop.turns()] == [50, 50, 20]
    assert set(shop.agent.known) == kept
    assert not any(revoke for _, revoke in shop.agent.forgotten)


def test_a_namespace_without_its_label_keeps_its_secret_until_all_is_revoked() -> None:
    shop = Namespace(120)
    shop.turns()
    shop.accounts = None
    for left in (70, 20):
        assert not shop.turn().is_last
        assert len(shop.agent.known) == left
        assert "shop" in shop.store.secrets
    assert shop.turn() == Turn(forgotten=20, wrote=True)
    assert shop.store.secrets == {}
    assert all(revoke for _, revoke in shop.agent.forgotten)


def test_a_secret_that_the_previous_version_wrote_keeps_its_entries_and_later_ones_are_short() -> None:
    shop = Namespace(2)
    old = {}
    for account in shop.accounts or ():
        secret = shop.agent.new_secret("shop", account)
        old[account] = json.dumps(secret.credential)
    shop.store.secrets["shop"] = dict(old)
    assert shop.turn() == Turn(wrote=True)
    assert shop.store.secrets["shop"] == {**old, ROOTS_KEY: ROOTS.to_pem()}
    shop.accounts = (shop.accounts or frozenset()) | {"later"}
    shop.turn()
    data = shop.store.secrets["shop"]
    assert {account: data[account] for account in old} == old
    assert len(data["later"]) < 900
    assert shop.turn() == Turn()
