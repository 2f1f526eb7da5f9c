"""Namespaces that fail, beside one that does not: they delay it by nothing. Time is turned by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import cast

import pytest
from structlog.testing import capture_logs

from certs import Stored
from certs.api_server import Access, ApiServerRefusal, BoundedApiClient
from tests.webhook.applying import CONFIGURATION
from tests.webhook.reconciler.cluster_agent_double import ClusterAgentDouble
from webhook.metrics import Metrics
from webhook.namespace_defaults import NamespaceDefaults
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.memory_secrets import MemorySecrets
from webhook.reconciler.pace import BURST, PER_SECOND
from webhook.reconciler.reconcile import MOST_AT_ONCE
from webhook.reconciler.watch import Cluster
from webhook.reconciler.worker import RESYNC_SECONDS, Reconciler

FAILING = frozenset(f"failing-{number:02}" for number in range(50))
LONGEST_PAUSE = 60.0


class Quotas(MemorySecrets):
    """A ResourceQuota with `secrets: "0"` in the failing namespaces. Notes which namespaces are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.read_in_order: list[str] = []
        self.when_read: Callable[[], None] | None = None

    def read(self, namespace: str) -> Stored | None:
        self.read_in_order.append(namespace)
        if self.when_read is not None:
            hook, self.when_read = self.when_read, None
            hook()
        return super().read(namespace)

    def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
        if namespace in FAILING:
            raise ApiServerRefusal(403, "exceeded quota")
        super().write(namespace, data, over)


class Listed(Cluster):
    """The failing namespaces and one other, each with a service account, as if watches had listed them."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        super().__init__(changed, NamespaceDefaults(CONFIGURATION, images_permitted=False))
        self.accounts = {one: frozenset({"default"}) for one in FAILING | {"shop"}}

    def namespaces(self) -> frozenset[str]:
        return frozenset(self.accounts)

    def service_accounts(self, namespace: str) -> frozenset[str] | None:
        return self.accounts.get(namespace)

    def wait_until_listed(self, seconds: float) -> bool:
        return True


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round does not wait for further changes."""
    monkeypatch.setattr("webhook.reconciler.worker._GATHER_SECONDS", 0.0)


class Rounds:
    """A reconciler whose rounds the test asks for, after the first one, in which 50 namespaces failed."""

    def __init__(self) -> None:
        self.store = Quotas()
        self.seconds = 0.0
        self.agent = ClusterAgentDouble()
        self.reconciler = Reconciler(
            BoundedApiClient(Access("http://127.0.0.1:1")),
            lambda: cast(AgentSecrets, self.agent),
            excluded_namespaces=(),
            defaults=NamespaceDefaults(CONFIGURATION, images_permitted=False),
            store=self.store,
            metrics=Metrics(),
            now=lambda: datetime.now(UTC),
            chance=lambda: 1.0,
            clock=lambda: self.seconds,
        )
        self.cluster = Listed(self.reconciler.namespace_changed)
        self.reconciler.cluster = self.cluster
        assert set(self.round()) == FAILING | {"shop"}
        assert set(self.store.secrets) == {"shop"}

    def round(self) -> list[str]:
        """The namespaces that one round looked at."""
        self.store.read_in_order = []
        with capture_logs():
            self.reconciler.round()
        return self.store.read_in_order


def test_a_change_beside_fifty_failing_namespaces_is_reconciled_alone() -> None:
    rounds = Rounds()
    for _ in range(3):
        rounds.reconciler.namespace_changed("shop")
        assert rounds.round() == ["shop"]


def test_a_change_waits_for_no_more_than_one_of_the_failing_that_are_tried_again() -> None:
    rounds = Rounds()
    rounds.seconds += LONGEST_PAUSE
    rounds.store.when_read = lambda: rounds.reconciler.namespace_changed("shop")
    (tried,) = rounds.round()
    assert tried in FAILING
    second = rounds.round()
    assert second[0] == "shop"
    assert set(second) == {"shop", *FAILING} - {tried}


def test_attack_of_namespaces_that_were_paused_the_one_that_has_waited_longest_is_first() -> None:
    """A tenant whose namespace is due again in each round, and is the first by its name, delays no other."""
    rounds = Rounds()
    rounds.cluster.accounts["aaa"] = frozenset({"default"})

    def slow() -> None:
        rounds.seconds += 0.04

    rounds.seconds = 0.45
    rounds.store.when_read = slow
    rounds.reconciler.namespace_changed("aaa")
    assert set(rounds.round()) == {"aaa"}
    rounds.reconciler.namespace_changed("aaa")
    assert rounds.round() == []  # it rests until after the others' back-off
    rounds.seconds += LONGEST_PAUSE
    rounds.store.when_read = lambda: rounds.reconciler.namespace_changed("shop")
    (tried,) = rounds.round()
    assert tried in FAILING


def test_a_failing_namespace_is_tried_again_by_its_own_back_off_whatever_its_tenant_changes() -> None:
    rounds = Rounds()
    rounds.reconciler.namespace_changed("shop")
    rounds.reconciler.namespace_changed("failing-07")
    assert rounds.round() == ["shop"]
    rounds.seconds += 0.5
    assert set(rounds.round()) == FAILING


def test_a_resync_leaves_the_back_off_of_failing_namespaces_alone_and_no_failure_causes_one() -> None:
    rounds = Rounds()
    for seconds in (60.0, 120.0, RESYNC_SECONDS - 1.0):
        rounds.seconds = seconds
        assert set(rounds.round()) == FAILING
    rounds.seconds = RESYNC_SECONDS
    assert rounds.round() == ["shop"]


def beside_another(rounds: Rounds, accounts: int) -> None:
    """One round in which `shop` has so many service accounts, and `other`, which changed too, is first."""
    rounds.cluster.accounts["shop"] = frozenset(f"account-{number:04}" for number in range(accounts))
    rounds.cluster.accounts["other"] = frozenset({"default"})
    rounds.reconciler.namespace_changed("shop")
    rounds.reconciler.namespace_changed("other")
    assert rounds.round()[0] == "other"


def test_attack_a_thousand_service_accounts_get_theirs_in_turns_at_a_bounded_pace() -> None:
    rounds = Rounds()
    began = rounds.seconds
    while len(rounds.store.secrets["shop"]) <= 1000:
        before = rounds.agent.made
        beside_another(rounds, 1000)
        assert rounds.agent.made - before <= MOST_AT_ONCE + len(FAILING) + 1
        rounds.seconds += 1.0
    assert rounds.seconds - began == pytest.approx((1000 - BURST) / PER_SECOND, abs=10.0)


def test_attack_a_tenant_who_creates_and_deletes_service_accounts_all_the_time_is_slowed_down_alone() -> None:
    rounds = Rounds()
    before = rounds.agent.changes["shop"]
    for number in range(200):
        beside_another(rounds, number % 20)
        rounds.seconds += 0.1
    assert rounds.agent.changes["shop"] - before < BURST + 20 * PER_SECOND + MOST_AT_ONCE


def test_a_namespace_that_fails_is_tried_again_with_one_new_secret() -> None:
    rounds = Rounds()
    rounds.cluster.accounts["failing-07"] = frozenset(f"account-{number:04}" for number in range(1000))
    rounds.seconds += LONGEST_PAUSE
    before = rounds.agent.made
    rounds.round()
    assert rounds.agent.made - before == len(FAILING)


def test_attack_a_namespace_whose_turns_take_long_gets_a_fifth_of_the_time() -> None:
    rounds = Rounds()

    def slow() -> None:
        rounds.seconds += 1.0

    rounds.store.when_read = slow
    rounds.reconciler.namespace_changed("shop")
    assert rounds.round()[0] == "shop"
    looks = 0
    for _ in range(8):
        rounds.seconds += 0.5
        rounds.reconciler.namespace_changed("shop")
        rounds.reconciler.namespace_changed("other")
        looks += "shop" in rounds.round()
    assert looks == 1
