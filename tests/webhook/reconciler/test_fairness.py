"""Namespaces that fail, beside one that does not: they delay it by nothing. Time is turned by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import cast

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from structlog.testing import capture_logs

from certs import Stored
from tests.webhook.reconciler.test_worker import ClusterAgentDouble
from webhook.metrics import Metrics
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.memory_secrets import MemorySecrets
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
            raise ApiException(403, "exceeded quota")
        super().write(namespace, data, over)


class Listed(Cluster):
    """The failing namespaces and one other, each with a service account, as if watches had listed them."""

    def namespaces(self) -> frozenset[str]:
        return FAILING | {"shop"}

    def service_accounts(self, namespace: str) -> frozenset[str] | None:
        return frozenset({"default"}) if namespace in self.namespaces() else None

    def wait_until_listed(self, seconds: float) -> bool:
        return True


class Rounds:
    """A reconciler whose rounds the test asks for, after the first one, in which 50 namespaces failed."""

    def __init__(self) -> None:
        self.store = Quotas()
        self.seconds = 0.0
        agent = ClusterAgentDouble()
        self.reconciler = Reconciler(
            client.CoreV1Api(),
            lambda: cast(AgentSecrets, agent),
            excluded_namespaces=(),
            store=self.store,
            metrics=Metrics(),
            now=lambda: datetime.now(UTC),
            chance=lambda: 1.0,
            clock=lambda: self.seconds,
        )
        self.reconciler.cluster = Listed(self.reconciler.namespace_changed)
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
