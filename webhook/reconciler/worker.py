"""The loop: namespaces that changed are reconciled at once, all of them every few minutes."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime

import structlog
import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from certs import Conflict
from service.errors import CallError
from webhook.metrics import Metrics
from webhook.reconciler.agent_secrets import AgentSecrets, KnownSecret
from webhook.reconciler.kubernetes_secrets import KubernetesSecrets
from webhook.reconciler.reconcile import reconcile
from webhook.reconciler.watch import Cluster

RESYNC_SECONDS = 300.0
# A new namespace and its default service account come one after the other: one round for both.
_GATHER_SECONDS = 0.1
_SHORTEST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.5, 60.0
_LIST_SECONDS = 60.0

_log = structlog.stdlib.get_logger("webhook.reconciler")


class AgentNotReady(Exception):  # says what is not yet; the loop tries again
    """There are no certificates to call the cluster agent with yet."""


class Reconciler:
    """Reconciles the labelled namespaces of a cluster, in threads of its own."""

    def __init__(
        self,
        api: client.CoreV1Api,
        connect: Callable[[], AgentSecrets],
        *,
        excluded_namespaces: Collection[str],
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        """`connect` opens a client of the cluster agent; it may raise AgentNotReady."""
        self._api = api
        self._connect = connect
        self._store = KubernetesSecrets(api)
        self._excluded = frozenset(excluded_namespaces)
        self._metrics = metrics
        self._now = now
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._due: set[str] = set()
        self._cluster = Cluster(self._enqueue)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reconciles as long as it is entered."""
        work = {
            "namespaces": lambda: self._cluster.watch_namespaces(self._api, self._stop),
            "service-accounts": lambda: self._cluster.watch_service_accounts(self._api, self._stop),
            "reconciler": self._work,
        }
        for name, run in work.items():
            # Daemons: a watch waits for the API server, and must not keep the program from ending.
            threading.Thread(target=run, name=name, daemon=True).start()
        try:
            yield
        finally:
            self._stop.set()
            with self._changed:
                self._changed.notify_all()

    def _enqueue(self, namespace: str) -> None:
        with self._changed:
            self._due.add(namespace)
            self._changed.notify_all()

    def _work(self) -> None:
        while not self._cluster.wait_until_listed(_LIST_SECONDS):
            _log.warning("still waiting for the lists of namespaces and service accounts")
        resync_at, retry = 0.0, _SHORTEST_RETRY_SECONDS
        while not self._stop.is_set():
            due, resync = self._take(resync_at)
            failed = self._round(due, resync)
            if failed is None:
                retry = _SHORTEST_RETRY_SECONDS
                resync_at = time.monotonic() + RESYNC_SECONDS if resync else resync_at
                continue
            with self._changed:
                self._due |= failed
            self._stop.wait(random.uniform(retry / 2, retry))  # noqa: S311 - spreads replicas, guards nothing
            retry = min(retry * 2, _LONGEST_RETRY_SECONDS)

    def _take(self, resync_at: float) -> tuple[set[str], bool]:
        """Waits for something to do: the namespaces that changed, and whether all are due."""
        with self._changed:
            while not self._due and not self._stop.is_set() and time.monotonic() < resync_at:
                self._changed.wait(min(1.0, max(0.0, resync_at - time.monotonic())))
        self._stop.wait(_GATHER_SECONDS)
        with self._changed:
            due, self._due = self._due, set()
        return due, time.monotonic() >= resync_at

    def _round(self, due: set[str], resync: bool) -> set[str] | None:
        """Reconciles; answers the namespaces that failed, None when none did."""
        try:
            with self._connect() as agent:
                known = _by_namespace(agent.secrets())
                if resync:
                    due = due | self._cluster.namespaces() | set(known)
                failed = {
                    namespace
                    for namespace in sorted(due)
                    if not self._one(namespace, known[namespace], agent)
                }
        except (CallError, AgentNotReady) as error:
            _log.warning("cluster agent not reachable", error=str(error))
            self._metrics.reconciled("Unreachable")
            return due
        return failed or None

    def _one(self, namespace: str, known: list[KnownSecret], agent: AgentSecrets) -> bool:
        accounts = None if namespace in self._excluded else self._cluster.service_accounts(namespace)
        try:
            done = reconcile(namespace, accounts, known, agent=agent, store=self._store, now=self._now())
        except Conflict as error:
            _log.info("lost a race, looking again", namespace=namespace, message=str(error))
            self._metrics.reconciled("Conflict")
            return False
        except (CallError, ApiException, urllib3.exceptions.HTTPError) as error:
            _log.warning("namespace not reconciled", namespace=namespace, error=_brief(error))
            self._metrics.reconciled("Failed")
            return False
        self._metrics.reconciled("Written" if done.writes or done.forget or done.replace else "Unchanged")
        return True


def _by_namespace(secrets: Collection[KnownSecret]) -> defaultdict[str, list[KnownSecret]]:
    found: defaultdict[str, list[KnownSecret]] = defaultdict(list)
    for secret in secrets:
        found[secret.namespace].append(secret)
    return found


def _brief(error: Exception) -> str:
    return f"{error.status} {error.reason}" if isinstance(error, ApiException) else str(error)
