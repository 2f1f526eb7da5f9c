"""The sources of the page: the cluster agent and the API server, each read in a thread of its own.

A source keeps its connection between rounds, and makes a new one after a failure, and before its certificate
ends.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Generic, TypeVar

from blessings.directory import DirectoryPrincipal
from service.errors import ServiceError
from vkube.commands.get import applications, replicas, revocations
from vkube.commands.status import of_agent, uninjected
from vkube.connection.cluster import Cluster
from vkube.connection.cluster_agent import ClusterAgent, administering
from vkube.dashboard.state import (
    AgentFacts,
    ClusterFacts,
    Happening,
    Reading,
    joined,
    newest_of_each_namespace,
    recorded,
    told,
)
from vkube.errors import VkubeError
from vkube.output.documents import Item

KEPT = timedelta(days=1)
"""How far back the page looks for what happened."""
_CONNECTION_SECONDS = 300.0
_AUDIT_SECONDS = 10.0
# A search reads the whole audit: it may take a twentieth of the time, and the rest of a round a tenth.
_AUDIT_SHARE, _SHARE = 20, 10
# The records that the first look is for; a later one takes all that are new.
_ACTS = ("refused", "revoked", "reinstated", "registered", "unregistered", "roots-changed", "claimed")
_MOST_OF_ACT = 100
_MOST_RECORDS = 2000
_OVERLAP = timedelta(minutes=1)
_COMPONENTS = ("vanadium-cluster-agent", "vanadium-webhook")
_MOST_EVENTS = 20_000

_F = TypeVar("_F")
_C = TypeVar("_C")


class Source(Generic[_F, _C]):
    """Reads again and again; `reading` is the outcome."""

    def __init__(
        self,
        connect: Callable[[ExitStack], _C],
        look: Callable[[_C, datetime], _F],
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`seconds` is the shortest time between two rounds."""
        self.reading: Reading[_F] = Reading()
        self._connect = connect
        self._look = look
        self._seconds = seconds
        self._clock = clock
        self._now = now
        self._stack = ExitStack()
        self._connection: _C | None = None
        self._connected_at = 0.0

    def read(self) -> float:
        """One round, which blocks. Returns the seconds until the next. Raises nothing."""
        began = self._clock()
        try:
            connection = self._connected(began)
            began = self._clock()  # a connection is made once in minutes
            value = self._look(connection, self._now())
            self.reading = Reading(value, self._now())
        except Exception as error:  # noqa: BLE001 - it is shown, and must not end the page
            expected = isinstance(error, VkubeError | ServiceError)
            told = str(error) if expected else f"an error in vkube itself: {type(error).__name__}: {error}"
            self.reading = Reading(self.reading.value, self.reading.read_at, told)
            self.close()
        return max(self._seconds, _SHARE * (self._clock() - began))

    def close(self) -> None:
        """Ends the connection."""
        self._connection = None
        self._stack.close()

    def _connected(self, now: float) -> _C:
        if self._connection is not None and now - self._connected_at > _CONNECTION_SECONDS:
            self.close()
        if self._connection is None:
            self._connection, self._connected_at = self._connect(self._stack), now
        return self._connection


def agent_source(
    options: argparse.Namespace, directory: DirectoryPrincipal | None
) -> Source[AgentFacts, ClusterAgent]:
    """The cluster agent, as whom the options state. `directory` is the administrator's, already open."""
    audit = _Audit()

    def look(agent: ClusterAgent, now: datetime) -> AgentFacts:
        state = of_agent(agent)
        # Only an agent that made its root itself has phases of roots.
        phases = agent.call("GET", "/v1/identity-roots")["roots"] if state["root"] == "self-made" else None
        return AgentFacts(
            agent=state,
            replicas=replicas(agent, None),
            applications=applications(agent, None),
            revocations=revocations(agent, None),
            roots=phases,
            patterns=[str(one["pattern"]) for one in agent.call("GET", "/v1/roots").get("roots") or ()],
            happenings=audit.read(agent, now),
        )

    return Source(lambda stack: stack.enter_context(administering(options, directory)), look, seconds=3.0)


def cluster_source(options: argparse.Namespace) -> Source[ClusterFacts, Cluster]:
    """The API server, with the user's rights."""

    def look(cluster: Cluster, now: datetime) -> ClusterFacts:
        return ClusterFacts(
            without_identity=uninjected(cluster, None),
            happenings=joined((), newest_of_each_namespace(_events(cluster, now)), now, KEPT),
        )

    return Source(lambda stack: stack.enter_context(Cluster.of(options)), look, seconds=10.0)


def _events(cluster: Cluster, now: datetime) -> Iterator[Happening]:
    selectors = [f"source={one}" for one in _COMPONENTS] + ["reason=FailedCreate"]
    for selector in selectors:
        for event in islice(cluster.items("/api/v1/events", fieldSelector=selector), _MOST_EVENTS):
            # What was not created, because our webhook or policy refused the Pod.
            if selector.startswith("source=") or "vanadium" in str(event.get("message")):
                yield told(event, now)


class _Audit:
    """What the audit has of the last day, read a little at a time."""

    def __init__(self) -> None:
        self._found: list[Happening] = []
        self._read_at: datetime | None = None
        self._due = 0.0

    def read(self, agent: ClusterAgent, now: datetime) -> Sequence[Happening]:
        began = time.monotonic()
        if began >= self._due:
            self._found = joined(self._found, self._new(agent, now), now, KEPT)
            self._read_at = now
            ended = time.monotonic()
            self._due = ended + max(_AUDIT_SECONDS, _AUDIT_SHARE * (ended - began))
        return self._found

    def _new(self, agent: ClusterAgent, now: datetime) -> list[Happening]:
        found: list[Item] = []
        if self._read_at is None:
            since = int((now - KEPT).timestamp())
            for act in _ACTS:
                page = agent.call(
                    "GET", "/v1/audit", query={"act": act, "since": since, "limit": _MOST_OF_ACT}
                )
                found += page["records"]
        else:
            since = int((self._read_at - _OVERLAP).timestamp())
            found += islice(agent.pages("/v1/audit", "records", since=since, limit=500), _MOST_RECORDS)
        return [one for record in found if (one := recorded(record)) is not None]
