"""The healer's background task: surveys the labelled namespaces, evicts what the plans permit, and tells.

It lists, and does not watch: a Pod that lacks an identity can wait for seconds, and what is kept of each Pod
is a few words, for as long as one survey takes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog

from certs.api_server import API_SERVER_ERRORS, AnswerTooLong, ApiServerRefusal, BoundedApiClient
from service.supervisor import BackOff, Task, described
from service.threads import in_daemon_thread
from service.token_bucket import TokenBucket
from webhook.healer.diagnosis import Cause, FoundPod, Physician
from webhook.healer.lease import Lease
from webhook.healer.memory import NamespaceMemory
from webhook.healer.plan import LASTING, Left, Plan, in_turns, plan
from webhook.kubernetes_clients import description
from webhook.metrics import HealerMetrics
from webhook.notices.ledger import MOST_OF_NAMESPACE
from webhook.notices.subject import Subject
from webhook.notices.writer import Notices

_IDLE_SECONDS, _BUSY_SECONDS = 15.0, 1.0
# Between two surveys, it rests for so many times as long as a survey took.
_REST = 2.0
# Of a round's evictions; the Lease is renewed once in each round.
_LONGEST_EVICTING_SECONDS = 10.0
# As objects, JSON takes many times as much memory, and tenants may make their Pods as large as they can.
_PAGE = 100
_MOST_PAGE_BYTES = 2 << 20
# More Pods than any namespace should have. Of one that has more, the first are healed first.
_MOST_PAGES = 100
# Kept of a namespace until the evictions.
_MOST_EVICTIONS = 200
_CAUSES = {
    Cause.MISSING: "it has no identity, and its namespace asks for one",
    Cause.OUTDATED: "its pod agent is of a version that is no longer supported",
}
_log = structlog.stdlib.get_logger("webhook.healer")


@dataclass
class Survey:
    """What may be evicted in a namespace, and the Pods of those owners."""

    evictions: list[FoundPod]
    present: dict[Subject, list[FoundPod]]

    @classmethod
    def of(cls, pods: list[FoundPod], made: Plan) -> Survey:
        evictions = made.evictions[:_MOST_EVICTIONS]
        present: dict[Subject, list[FoundPod]] = {one.owner: [] for one in evictions if one.owner is not None}
        for pod in pods:
            if pod.owner in present:
                present[pod.owner].append(pod)
        return cls(evictions, present)


@dataclass
class Totals:
    """What a survey of all namespaces found, for the metrics."""

    found: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


class Healer:
    """Heals the labelled namespaces of a cluster, while this replica has the Lease."""

    def __init__(
        self,
        api: BoundedApiClient,
        lease: Lease,
        namespaces: Callable[[], frozenset[str]],
        physician: Callable[[], Physician],
        *,
        is_dry_run: bool,
        per_minute: float,
        notices: Notices,
        metrics: HealerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`namespaces` returns those that may be healed; `per_minute` limits the evictions in all of them.
        `clock` is monotonic, in seconds."""
        self._api = api
        self._lease = lease
        self._namespaces = namespaces
        self._physician = physician
        self._is_dry_run = is_dry_run
        self._notices = notices
        self._metrics = metrics
        self._clock = clock
        self._bucket = TokenBucket.full(per_minute / 60, max(1.0, per_minute / 6), clock())
        self._memories: dict[str, NamespaceMemory] = {}

    def task(self) -> Task:
        """The rounds."""
        return Task(
            "healer",
            partial(in_daemon_thread, "healer", self.round),
            period=_IDLE_SECONDS,
            failure="Pods not healed",
            expected=API_SERVER_ERRORS,
            back_off=BackOff(1.0, 60.0),
        )

    def round(self) -> float:
        """One survey, and the evictions that follow from it. Returns the seconds until the next round."""
        if not self._lease.acquire():
            self._memories = {}
            self._metrics.surveyed({}, {})
            return _IDLE_SECONDS
        began = self._clock()
        names = self._namespaces()
        self._memories = {one: self._memories.get(one, NamespaceMemory()) for one in names}
        physician = self._physician()
        totals = Totals()
        surveys = {one: survey for one in sorted(names) if (survey := self._survey(one, physician, totals))}
        rest = (self._clock() - began) * _REST
        self._metrics.surveyed(totals.found, totals.left)
        # A survey of many namespaces may take longer than the Lease.
        if not self._lease.is_held and not self._lease.acquire():
            return _IDLE_SECONDS
        self._evict(surveys)
        is_busy = any(one.evictions for one in surveys.values()) and not self._is_dry_run
        is_busy = is_busy or any(one.open for one in self._memories.values())
        return max(_BUSY_SECONDS if is_busy else _IDLE_SECONDS, rest)

    def _survey(self, namespace: str, physician: Physician, totals: Totals) -> Survey | None:
        """None where nothing is to be done, or the namespace cannot be read."""
        try:
            pods = [found for raw in self._list(namespace) if (found := physician.found(raw)) is not None]
        except API_SERVER_ERRORS as error:
            _log.warning("Pods not listed", namespace=namespace, error=description(error))
            return None
        except Exception as error:  # noqa: BLE001 - a tenant's Pod must not stop other namespaces' healing
            _log.exception("Pods not surveyed", namespace=namespace, error=described(error))
            return None
        memory, now = self._memories[namespace], self._clock()
        memory.observe(pods, now)
        if not any(one.cause is not None or one.refused for one in pods):
            return None
        made = plan(pods, memory, now)
        totals.found.update(one.cause.value for one in pods if one.cause is not None)
        totals.left.update(why.value for _, why in made.left)
        for pod, why in [one for one in made.left if one[1] in LASTING][:MOST_OF_NAMESPACE]:
            self._tell(namespace, pod, why)
        return Survey.of(pods, made)

    def _list(self, namespace: str) -> Iterator[dict[str, Any]]:
        path = f"/api/v1/namespaces/{namespace}/pods"
        limit, following = _PAGE, ""
        for _ in range(_MOST_PAGES):
            page = {"limit": str(limit), **({"continue": following} if following else {})}
            most_bytes = None if limit == 1 else _MOST_PAGE_BYTES
            try:
                found = self._api.json("GET", path, query=page, most_bytes=most_bytes)
            except AnswerTooLong:
                limit = max(1, limit // 8)
                continue
            yield from found.get("items") or []
            limit, following = min(_PAGE, limit * 2), found["metadata"].get("continue") or ""
            if not following:
                return

    def _tell(self, namespace: str, pod: FoundPod, why: Left) -> None:
        subject = pod.owner or Subject("v1", "Pod", pod.name, pod.uid)
        cause = _CAUSES[pod.cause or Cause.MISSING]
        why_left = LASTING[why].format(namespace=namespace)
        more = f" ({pod.refused})" if why is Left.REFUSED else ""
        text = f"Pod {pod.name} is not evicted: {cause}, but {why_left}{more}"
        self._notices.note(namespace, subject, "PodNotHealed", text, is_warning=True)

    def _evict(self, surveys: dict[str, Survey]) -> None:
        """Evicts as many as the rate permits."""
        began = self._clock()
        paused: set[tuple[str, Subject]] = set()
        names = sorted(surveys, key=lambda one: self._memories[one].served_at)
        for namespace, pod in in_turns((name, surveys[name].evictions) for name in names):
            now, owner = self._clock(), pod.owner
            if owner is None or (namespace, owner) in paused:
                continue
            if now - began > _LONGEST_EVICTING_SECONDS or not self._lease.is_held:
                break
            if self._bucket.take(now) > 0:
                break
            result = "DryRun" if self._is_dry_run else self._evict_one(namespace, pod)
            self._metrics.evicted(result)
            _log.info("eviction", namespace=namespace, pod=pod.name, cause=pod.cause, result=result)
            memory, present = self._memories[namespace], surveys[namespace].present[owner]
            memory.served_at = now
            if result in ("Evicted", "DryRun"):
                self._tell_eviction(namespace, pod, owner)
            if result == "Evicted":
                memory.evicted(owner, present, now)
            elif result in ("Budget", "Failed"):
                memory.hindered(owner, present, now)
                paused.add((namespace, owner))

    def _tell_eviction(self, namespace: str, pod: FoundPod, owner: Subject) -> None:
        would = "would be evicted" if self._is_dry_run else "was evicted"
        reason = "PodWouldBeHealed" if self._is_dry_run else "PodHealed"
        text = f"Pod {pod.name} {would}: {_CAUSES[pod.cause or Cause.MISSING]}"
        self._notices.note(namespace, owner, reason, text, is_warning=False)

    def _evict_one(self, namespace: str, pod: FoundPod) -> str:
        """Only the Pod that was surveyed, as it was then. Within its PodDisruptionBudgets, which the API
        server keeps."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod.name}/eviction"
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid, "resourceVersion": pod.version}},
        }
        try:
            self._api.json("POST", path, body=body)
        except ApiServerRefusal as error:
            if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                return "Changed"
            if error.status == HTTPStatus.TOO_MANY_REQUESTS:
                return "Budget"
            _log.warning("Pod not evicted", namespace=namespace, pod=pod.name, error=description(error))
            return "Failed"
        return "Evicted"
