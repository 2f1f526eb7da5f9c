"""The routes for the kubelet and Prometheus: /healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pod_agent.identity import CurrentIdentity
from service.supervisor import Supervisor


class Listener(Protocol):
    """Knows how many connections its limit ended."""

    @property
    def refused(self) -> int: ...


class _Refused(Collector):
    def __init__(self, listeners: Mapping[str, Listener]) -> None:
        self._listeners = listeners

    def collect(self) -> Iterator[Metric]:
        counter = CounterMetricFamily(
            "vanadium_pod_agent_connections_turned_away",
            "Connections closed because there were too many, by listener.",
            labels=["listener"],
        )
        for name, listener in self._listeners.items():
            counter.add_metric([name], listener.refused)
        yield counter


class Metrics:
    """The metrics of one pod agent, in their own registry."""

    def __init__(self, current: CurrentIdentity, now: Callable[[], datetime]) -> None:
        self.registry = CollectorRegistry()
        self._seeks = Counter(
            "vanadium_pod_agent_seeks",
            "Attempts to get a blessing, by result: Blessed, or the reason of the failure.",
            ["result"],
            registry=self.registry,
        )
        self._expiries = Counter(
            "vanadium_pod_agent_expiries",
            "Identities that expired while they were served, because none was renewed in time.",
            registry=self.registry,
        )
        left = Gauge(
            "vanadium_pod_agent_blessing_seconds_left",
            "Seconds until the blessing that is served ends; 0 without one.",
            registry=self.registry,
        )
        version = Gauge(
            "vanadium_pod_agent_blessing_version",
            "How many blessings were served since the start; 0 without a valid one.",
            registry=self.registry,
        )

        def seconds_left() -> float:
            identity = current.value
            return (identity.not_after - now()).total_seconds() if identity else 0.0

        left.set_function(seconds_left)
        version.set_function(lambda: float(current.value.version) if current.value else 0.0)

    def count_refused(self, listeners: Mapping[str, Listener]) -> None:
        """Adds the counter of connections that a limit ended; `listeners` are read at each scrape."""
        self.registry.register(_Refused(listeners))

    def sought(self, result: str) -> None:
        self._seeks.labels(result).inc()

    def expired(self) -> None:
        self._expiries.inc()


def create_app(current: CurrentIdentity, metrics: Metrics, supervisor: Supervisor) -> Starlette:
    """The application: alive as long as it answers, ready while it has a valid blessing to serve and its
    background tasks work."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        identity = current.value
        if identity is None:
            return JSONResponse({"ready": False, "reason": "NotYetBlessed"}, 503)
        if problem := supervisor.problem():
            return JSONResponse({"ready": False, "reason": problem}, 503)
        return JSONResponse({"ready": True, "name": str(identity.name)})

    async def exposition(_request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", exposition)]
    )
