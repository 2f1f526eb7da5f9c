"""The reconciler under its supervisor, beside what ended it: Secrets that no program of ours wrote, and
lists that are none. The API server and the cluster agent are doubles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import cast

import pytest
from structlog.testing import capture_logs

from certs import Stored
from service.cluster_agent_client import ClusterAgentClient
from service.errors import CallError, CallUnanswered, UnusableAnswer
from service.supervisor import Supervisor
from tests.waiting import PATIENCE_SECONDS, until
from tests.webhook.api_server import ApiServer
from tests.webhook.applying import CONFIGURATION
from tests.webhook.reconciler.cluster_agent_double import ROOTS, ClusterAgentDouble, credential
from webhook.kubernetes_clients import description
from webhook.layout import BOOTSTRAP_SECRET
from webhook.metrics import Metrics
from webhook.namespace_defaults import NamespaceDefaults
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.backlog import Backlog
from webhook.reconciler.memory_secrets import MemorySecrets
from webhook.reconciler.reconcile import reconcile
from webhook.reconciler.secret_store import SecretStore
from webhook.reconciler.worker import Reconciler


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
                clients,
                lambda: cast(AgentSecrets, self.agent),
                excluded_namespaces=(),
                defaults=NamespaceDefaults(CONFIGURATION, images_permitted=False),
                store=self.store,
                metrics=self.metrics,
                now=lambda: datetime.now(UTC),
            )
            supervisor = Supervisor(reconciler.tasks(), describe=description)
            with capture_logs():
                async with supervisor.running():
                    yield supervisor

    def behind(self) -> float:
        found = self.metrics.registry.get_sample_value("vanadium_webhook_reconciler_behind_seconds")
        assert found is not None
        return found

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
    world.agent.is_away = True
    await world.api.add_namespace("shop")
    async with world.running() as supervisor:
        await until("failures", lambda: supervisor.records["reconciler"].failures >= 2)
        assert supervisor.problem() is None
        assert b'vanadium_webhook_reconciles_total{result="Unreachable"}' in world.metrics.exposition()
        assert world.behind() > 0
        world.agent.is_away = False
        await world.served("shop")
        await until("nothing waits", lambda: world.behind() == 0)


async def test_a_namespace_that_fails_is_not_one_that_waits() -> None:
    world = World(HostileStore())
    await world.api.add_namespace("hostile")
    async with world.running():
        failed = b'vanadium_webhook_reconciles_total{result="Failed"} '
        await until("its failure", lambda: failed in world.metrics.exposition())
        await until("its turn is noted", lambda: world.behind() == 0)


def test_the_backlog_is_as_old_as_what_waits_longest() -> None:
    now = [100.0]
    backlog = Backlog(lambda: now[0])
    assert backlog.seconds == 0
    backlog.due("shop")
    now[0] += 7
    backlog.due("shop")
    backlog.due("office")
    assert backlog.seconds == 7
    backlog.had_its_turn("shop")
    assert backlog.seconds == 0
    now[0] += 2
    assert backlog.seconds == 2


class SilentAgent:
    """Answers the list, and then makes each caller wait for its full time."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.calls: list[str] = []

    def call(self, _method: str, path: str, _body: object = None) -> dict[str, object]:
        self.calls.append(path)
        if path.startswith("/v1/secrets?"):
            return {"secrets": []}
        raise CallUnanswered(self.reason, "no answer")

    def close(self) -> None:
        pass


def test_credentials_that_were_not_written_are_not_forgotten_one_by_one_while_nothing_answers() -> None:
    """The list of the next round shows them, and they are forgotten later."""

    class Answers(SilentAgent):
        def call(self, method: str, path: str, body: object = None) -> dict[str, object]:
            if path == "/v1/new-secret" and len(self.calls) < 4:
                self.calls.append(path)
                return {"id": "new", "application": "a", "credential": credential()}
            return super().call(method, path, body)

    class FullSecrets(MemorySecrets):
        def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
            raise OSError("quota exceeded")

    silent = Answers("Unreachable")
    agent = AgentSecrets(cast(ClusterAgentClient, silent), ROOTS)
    accounts = frozenset(f"account-{number}" for number in range(20))
    with pytest.raises(CallUnanswered):
        reconcile("shop", accounts, agent=agent, store=FullSecrets(), now=datetime.now(UTC))
    assert silent.calls[1:] == ["/v1/new-secret"] * 4


async def one_round(
    agent: AgentSecrets, store: MemorySecrets, namespaces: int
) -> tuple[Reconciler, CallError | None]:
    """One round over so many namespaces, and what it raised."""
    api = ApiServer()
    for number in range(namespaces):
        await api.add_namespace(f"namespace-{number}")
    async with api.clients() as clients:
        reconciler = Reconciler(
            clients,
            lambda: agent,
            excluded_namespaces=(),
            defaults=NamespaceDefaults(CONFIGURATION, images_permitted=False),
            store=store,
            metrics=Metrics(),
            now=lambda: datetime.now(UTC),
        )
        watches = Supervisor(reconciler.tasks()[:2])
        with capture_logs():
            async with watches.running():
                listed = partial(reconciler.cluster.wait_until_listed, PATIENCE_SECONDS)
                assert await asyncio.to_thread(listed)
                try:
                    await asyncio.to_thread(reconciler.round)
                except CallError as error:
                    return reconciler, error
    return reconciler, None


@pytest.mark.parametrize(
    ("reason", "calls"), [("Unreachable", 1), ("ConnectionEnded", 1), ("TooManyRequests", 20)]
)
async def test_a_round_ends_at_the_first_call_that_nothing_answers(reason: str, calls: int) -> None:
    """Each further one would wait for its full time, and in the end turn every replica's readiness. An answer
    that asks to wait is one namespace's."""
    silent = SilentAgent(reason)
    agent = AgentSecrets(cast(ClusterAgentClient, silent), ROOTS)
    _, error = await one_round(agent, MemorySecrets(), 20)
    assert silent.calls.count("/v1/new-secret") == calls
    assert (error is not None) == (calls == 1)


class FloodedAgent:
    """Has more secrets of namespace-0 than fit in any answer."""

    def call(self, _method: str, path: str, _body: object = None) -> dict[str, object]:
        if path == "/v1/new-secret":
            return {"id": "new", "application": "a", "credential": credential()}
        if "namespace=" not in path or "namespace=namespace-0" in path:
            raise UnusableAnswer("AnswerTooLong", "the answer has more than 67108864 bytes")
        return {"secrets": [], "following": None}

    def close(self) -> None:
        pass


async def test_attack_the_secrets_of_one_namespace_leave_no_other_without() -> None:
    agent = AgentSecrets(cast(ClusterAgentClient, FloodedAgent()), ROOTS)
    store = MemorySecrets()
    _, error = await one_round(agent, store, 3)
    assert error is None
    assert set(store.secrets) == {"namespace-1", "namespace-2"}


async def test_a_round_is_cut_and_the_next_goes_on_with_those_that_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webhook.reconciler.worker._LONGEST_ROUND_SECONDS", 0.0)
    agent, store = cast(AgentSecrets, ClusterAgentDouble()), MemorySecrets()
    reconciler, _ = await one_round(agent, store, 3)
    assert len(store.secrets) == 1
    for done in (2, 3):
        await asyncio.to_thread(reconciler.round)
        assert len(store.secrets) == done
