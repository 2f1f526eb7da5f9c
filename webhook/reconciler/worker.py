"""The reconciler's background tasks: changed namespaces are reconciled at once, all of them every few
minutes."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial

import structlog

from certs import VersionConflict
from certs.api_server import API_SERVER_ERRORS, BoundedApiClient
from service.errors import CallError
from service.supervisor import BackOff, Task, described
from service.threads import in_daemon_thread
from webhook.kubernetes_clients import description
from webhook.metrics import Metrics
from webhook.namespace_defaults import NamespaceDefaults
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.backlog import Backlog
from webhook.reconciler.excess import Excess
from webhook.reconciler.kubernetes_secrets import KubernetesSecrets
from webhook.reconciler.pace import Pace
from webhook.reconciler.reconcile import MOST_AT_ONCE, Turn, reconcile
from webhook.reconciler.secret_store import SecretStore
from webhook.reconciler.watch import Cluster, Watch

RESYNC_SECONDS = 300.0
# A round with nothing to do ends after this time, so one that takes longer has hung.
_IDLE_SECONDS = 30.0
# After a turn, a namespace rests for so many times as long: it gets a fifth of the time at most.
_REST = 4.0
# A round that has more to do goes on in the next one.
_LONGEST_ROUND_SECONDS = 60.0
# A new namespace and its default service account appear one after the other: one round handles both.
_GATHER_SECONDS = 0.1
_BACK_OFF = BackOff(0.5, 60.0)
_LIST_SECONDS = 60.0
# The time between the end of a watch and the next one, which continues where the first ended.
_WATCH_AGAIN_SECONDS = 0.2
# The longest good round is a watch of 4 minutes.
_UNREADY_SECONDS = 600.0

_log = structlog.stdlib.get_logger("webhook.reconciler")


class AgentNotReady(Exception):  # a state, not an error of the program; the task tries again
    """There are no certificates to call the cluster agent with yet."""


class NotListed(Exception):
    """Namespaces and service accounts have not been listed yet."""


class Reconciler:
    """Reconciles the labelled namespaces of a cluster.

    A namespace that fails is tried again with a back-off of its own: it delays no other.
    """

    def __init__(
        self,
        api: BoundedApiClient,
        connect: Callable[[], AgentSecrets],
        *,
        excluded_namespaces: Collection[str],
        defaults: NamespaceDefaults,
        metrics: Metrics,
        now: Callable[[], datetime],
        store: SecretStore | None = None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect` opens a client of the cluster agent; it may raise AgentNotReady. `defaults` are told of
        the namespaces' annotations. `store` is the API server's Secrets by default; `clock` is monotonic, in
        seconds."""
        self._api = api
        self._connect = connect
        self._store = store or KubernetesSecrets(api)
        self._excluded = frozenset(excluded_namespaces)
        self._metrics = metrics
        self._now = now
        self._chance = chance
        self._clock = clock
        self._changed = threading.Condition()
        self._due: set[str] = set()
        self._failures: Counter[str] = Counter()
        # Those that failed or have more to do, and when they get their next turn.
        self._later: dict[str, float] = {}
        # Those that have had their share for now, and until when.
        self._resting: dict[str, float] = {}
        self._pace = Pace()
        self._excess = Excess(api, metrics, now=now, clock=clock)
        self._resync_at = 0.0
        self._backlog = Backlog(clock)
        metrics.watch_backlog(lambda: self._backlog.seconds)
        self.cluster = Cluster(self.namespace_changed, defaults)

    def tasks(self) -> list[Task]:
        """The two watches, and the reconciling of what they find."""
        return [
            self._watching("namespaces", self.cluster.namespace_watch(self._api)),
            self._watching("service-accounts", self.cluster.service_account_watch(self._api)),
            Task(
                "reconciler",
                partial(in_daemon_thread, "reconciler", self.round),
                period=0.0,
                failure="namespaces not reconciled",
                expected=(CallError, AgentNotReady, NotListed),
                unready_after_seconds=_UNREADY_SECONDS,
                back_off=_BACK_OFF,
            ),
        ]

    def _watching(self, name: str, watch: Watch) -> Task:
        self._metrics.watches.follow(name, watch.age)
        return Task(
            f"watch-{name}",
            partial(in_daemon_thread, f"watch-{name}", watch.round),
            period=_WATCH_AGAIN_SECONDS,
            failure="watch lost",
            expected=API_SERVER_ERRORS,
            unready_after_seconds=_UNREADY_SECONDS,
            back_off=BackOff(1.0, 30.0),
        )

    def round(self) -> None:
        """Waits a while for namespaces that are due, and reconciles them, as many as there is time for.
        Raises CallError or AgentNotReady. Those that are left are due again."""
        if not self.cluster.wait_until_listed(_LIST_SECONDS):
            raise NotListed("still waiting for the lists of namespaces and service accounts")
        due, resync = self._take()
        if not due and not resync:
            return
        try:
            with self._connect() as agent:
                until = self._clock() + _LONGEST_ROUND_SECONDS
                if resync:
                    due |= self._all(agent) - self._pausing()
                    self._resync_at = self._clock() + RESYNC_SECONDS
                    self._pace.forget_idle(self._clock())
                # Those that were paused come last, and give way to each change that comes meanwhile. The one
                # that has waited longest is first: another one may be due again in each round.
                for namespace in sorted(due, key=lambda one: (self._later.get(one, -math.inf), one)):
                    was_paused, calls, began = namespace in self._later, agent.calls, self._clock()
                    turn = self._one(namespace, agent)
                    if agent.away is not None:
                        raise agent.away
                    due.remove(namespace)
                    self._note(namespace, turn, agent.calls - calls, self._clock() - began)
                    if self._clock() >= until or (was_paused and self._is_any_due()):
                        break
        except (CallError, AgentNotReady):
            self._metrics.reconciled("Unreachable")
            raise
        finally:
            for namespace in due:
                self._backlog.due(namespace)
            with self._changed:
                self._due |= due

    def namespace_changed(self, namespace: str) -> None:
        """Makes the namespace due. Safe for threads."""
        self._backlog.due(namespace)
        with self._changed:
            self._due.add(namespace)
            self._changed.notify_all()

    def _take(self) -> tuple[set[str], bool]:
        """Waits for something to do: the namespaces that are due, and whether all are."""
        until = min(self._resync_at, self._clock() + _IDLE_SECONDS, *self._later.values())
        with self._changed:
            self._changed.wait_for(lambda: self._due, max(0.0, until - self._clock()))
            if self._due:
                # `wait_for` releases the lock to other threads; the condition is never true, so the full time
                # passes.
                self._changed.wait_for(lambda: False, _GATHER_SECONDS)
            due, self._due = self._due, set()
        # A change in a namespace that fails does not shorten its back-off, nor the rest of one that had its
        # share: its tenant could otherwise have it looked at at any rate.
        now = self._clock()
        self._resting = {one: until for one, until in self._resting.items() if until > now}
        for namespace in due & self._resting.keys():
            self._later.setdefault(namespace, self._resting[namespace])
        pausing = self._pausing()
        return (due | set(self._later)) - pausing, self._clock() >= self._resync_at

    def _pausing(self) -> set[str]:
        """The namespaces that are not to be looked at yet."""
        now = self._clock()
        return {namespace for namespace, at in self._later.items() if at > now}

    def _is_any_due(self) -> bool:
        with self._changed:
            return bool(self._due)

    def _note(self, namespace: str, turn: Turn | None, calls: int, seconds: float) -> None:
        """Notes a turn, or for None a failure, and when the namespace may have its next one."""
        now = self._clock()
        self._backlog.had_its_turn(namespace)
        rest = max(self._pace.spend(namespace, calls, now), seconds * _REST)
        if turn is None:
            self._failures[namespace] += 1
            back_off = _BACK_OFF.pause(self._failures[namespace], self._chance())
            self._later[namespace] = now + max(rest, back_off)
            return
        del self._failures[namespace]
        self._later.pop(namespace, None)
        if not turn.is_last:
            self._later[namespace] = now + rest
        elif rest > 0:
            self._resting[namespace] = now + rest

    def _all(self, agent: AgentSecrets) -> set[str]:
        """The labelled namespaces, and those that have secrets at the cluster agent."""
        found = set(self.cluster.namespaces())
        try:
            found |= agent.namespaces()
        except CallError as error:
            if agent.away is not None:
                raise
            # The labelled ones do not wait for it; what was deleted meanwhile is found by the next resync.
            _log.warning("secrets not listed", error=description(error))
            self._metrics.reconciled("Failed")
        return found

    def _one(self, namespace: str, agent: AgentSecrets) -> Turn | None:
        """One turn of the namespace; None for a failure."""
        accounts = None if namespace in self._excluded else self.cluster.service_accounts(namespace)
        # Where the Secret cannot be written, each try makes credentials in vain.
        most = 1 if self._failures[namespace] else MOST_AT_ONCE
        try:
            turn = reconcile(namespace, accounts, agent=agent, store=self._store, now=self._now(), most=most)
            if turn.is_last:
                self._excess.note(namespace, turn.excess)
        except VersionConflict as error:
            _log.info("lost a race, looking again", namespace=namespace, message=str(error))
            self._metrics.reconciled("Conflict")
            return None
        except (CallError, *API_SERVER_ERRORS) as error:
            _log.warning("namespace not reconciled", namespace=namespace, error=description(error))
            self._metrics.reconciled("Failed")
            return None
        except Exception as error:  # noqa: BLE001 - a tenant's Secret must not stop other namespaces' work
            _log.exception("namespace not reconciled", namespace=namespace, error=described(error))
            self._metrics.reconciled("Failed")
            return None
        self._metrics.reconciled("Written" if turn.wrote or turn.forgotten else "Unchanged")
        return turn
