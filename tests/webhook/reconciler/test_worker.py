"""The reconciler under its supervisor, beside what ended it: Secrets that no program of ours wrote, and
lists that are none. The API server and the cluster agent are doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self, cast

import pytest
from structlog.testing import capture_logs

from certs import Stored
from service.errors import CallError
from service.supervisor import Supervisor
from tests.chains import realm
from tests.waiting import until
from tests.webhook.api_server import ApiServer
from webhook.kubernetes_clients import description
from webhook.layout import BOOTSTRAP_SECRET
from webhook.metrics import Metrics
from webhook.reconciler.agent_secrets import AgentSecrets, KnownSecret, NewSecret
from webhook.reconciler.memory_secrets import MemorySecrets
from webhook.reconciler.secret_store import SecretStore
from webhook.reconciler.worker import Reconciler

REALM = realm()


class ClusterAgentDouble:
    """Knows the secrets that it made; is away as long as it is told to."""

    def __init__(self) -> None:
        self.roots = REALM.roots
        self.known: dict[str, KnownSecret] = {}
        self.away = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def secrets(self) -> list[KnownSecret]:
        if self.away:
            raise CallError("Unreachable", "away")
        return list(self.known.values())

    def new_secret(self, namespace: str, service_account: str) -> NewSecret:
        identifier, now = f"secret-{len(self.known)}", datetime.now(UTC)
        self.known[identifier] = KnownSecret(
            identifier, namespace, service_account, now, now + timedelta(days=90)
        )
        return NewSecret(identifier, service_account, {"id": identifier, "privateKey": "key"})

    def forget_secret(self, secret_id: str, *, revoke: bool) -> None:
        self.known.pop(secret_id, None)


class World:
    """A reconciler that runs."""

    def __init__(self, store: SecretStore | None = None) -> None:
        self.api = ApiServer()
        self.store = store
        self.agent = ClusterAgentDouble()
        self.metrics = Metrics()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Supervisor]:
        async with self.api.clients() as clients:
            reconciler = Reconciler(
                clients.core,
                lambda: cast(AgentSecrets, self.agent),
                excluded_namespaces=(),
                store=self.store,
                metrics=self.metrics,
                now=lambda: datetime.now(UTC),
            )
            supervisor = Supervisor(reconciler.tasks(), describe=description)
            with capture_logs():
                async with supervisor.running():
                    yield supervisor

    async def served(self, namespace: str) -> None:
        """Returns once the namespace has a credential of the cluster agent's."""

        def there() -> bool:
            made = {one.namespace for one in self.agent.known.values()}
            return namespace in made and (namespace, BOOTSTRAP_SECRET) in self.api.secrets

        await until(f"the Secret of {namespace}", there)


HOSTILE = {
    "bytes that are not UTF-8": {"x": b"\xff\xfe\x00"},
    "a credential that is not UTF-8": {"default": b"\xff\xfe\x00"},
    "JSON nested 100 000 deep": {"default": b"[" * 100_000},
    "JSON objects nested 100 000 deep": {"default": b'{"a":' * 100_000},
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_secret_of_one_namespace_does_not_end_the_reconciler_for_others(
    data: dict[str, bytes],
) -> None:
    world = World()
    world.api.put_secret("hostile", BOOTSTRAP_SECRET, data)
    await world.api.add_namespace("hostile")
    await world.api.add_namespace("shop")
    async with world.running() as supervisor:
        await world.served("shop")
        # By an event of the watches, not by the list.
        await world.api.add_namespace("later")
        await world.served("later")
        assert supervisor.problem() is None
        assert supervisor.records["reconciler"].failures == 0


class HostileStore(MemorySecrets):
    """Cannot read one namespace, for a reason that nobody thought of."""

    def read(self, namespace: str) -> Stored | None:
        if namespace == "hostile":
            raise RuntimeError("nobody thought of it")
        return super().read(namespace)


async def test_a_defect_that_one_namespace_meets_is_that_namespace_s_and_is_counted() -> None:
    store = HostileStore()
    world = World(store)
    for name in ("hostile", "shop"):
        await world.api.add_namespace(name)
    async with world.running() as supervisor:
        await until("the Secret of shop", lambda: "shop" in store.secrets)
        failed = b'vanadium_webhook_reconciles_total{result="Failed"} '
        await until("its failure", lambda: failed in world.metrics.exposition())
        assert "hostile" not in store.secrets
        assert supervisor.records["reconciler"].failures == 0


async def test_lists_that_are_none_are_asked_for_again() -> None:
    world = World()
    world.api.broken_lists = 3
    await world.api.add_namespace("shop")
    async with world.running() as supervisor:
        await world.served("shop")
        names = ("watch-namespaces", "watch-service-accounts")
        assert sum(supervisor.records[name].failures for name in names) == 3


async def test_without_the_cluster_agent_it_stays_ready_and_counts_and_all_is_done_when_it_is_back() -> None:
    world = World()
    world.agent.away = True
    await world.api.add_namespace("shop")
    async with world.running() as supervisor:
        await until("failures", lambda: supervisor.records["reconciler"].failures >= 2)
        assert supervisor.problem() is None
        assert b'vanadium_webhook_reconciles_total{result="Unreachable"}' in world.metrics.exposition()
        world.agent.away = False
        await world.served("shop")
