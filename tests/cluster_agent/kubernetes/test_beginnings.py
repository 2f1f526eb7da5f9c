"""Events about first identities, from what hostile Pods state, at an API server that may refuse them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from blessings import Principal, Roots
from cluster_agent.api.app import create_app
from cluster_agent.api.blessings import blessing_routes
from cluster_agent.api.request_callers import RequestCallers
from cluster_agent.api.watch import watch_routes
from cluster_agent.audit.refusals import Refusals
from cluster_agent.kubernetes.beginnings import BeginningEvents, Begun, Outcome
from cluster_agent.model import Application, Issuance
from cluster_agent.monitoring.metrics import Metrics
from cluster_agent.publications import PollingPace, Publications
from cluster_agent.rate_limits import Rate, RateLimits, Rates
from service.beginning import HEADER
from tests.clock import Clock
from tests.cluster_agent.api.test_direct_calls import call
from tests.cluster_agent.kubernetes.test_api import api_of
from tests.cluster_agents import AgentUnderClock
from tests.csrs import csr_of

STEPS = {"started": 212, "mounted": 215, "token": 215, "connected": 260, "issued": 330, "served": 331}
SENT = "212,215,215,260,330,331"


class ApiServer:
    """Keeps the Events, and refuses those in the namespace `ending`; with what became of all of them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.outcomes: Counter[Outcome] = Counter()
        self.clock = Clock()
        self.events_of: BeginningEvents

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.split("/")[4] == "ending":
            return web.json_response({"reason": "Forbidden"}, status=403)
        self.events.append(json.loads(await request.text()))
        return web.json_response({}, status=201)

    def told(self, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1

    def note(self, namespace: str, number: int) -> None:
        ends = self.clock() + timedelta(hours=1)
        replica = Issuance("f", "s", f"web-{number}", f"uid-{namespace}-{number}", "k", ends)
        self.events_of.note(Begun.told(Application(namespace, "web"), replica, STEPS))

    def written_about(self) -> list[str]:
        return [one["involvedObject"]["namespace"] for one in self.events]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer()
    async with api_of(server.answer, tmp_path) as api:
        server.events_of = BeginningEvents(
            api, server, server.clock, monotonic=lambda: server.clock().timestamp()
        )
        yield server


async def test_a_pods_event_has_the_time_of_each_step(server: ApiServer) -> None:
    server.note("shop", 1)
    await server.events_of.write()
    (event,) = server.events
    assert event["involvedObject"] == {
        "apiVersion": "v1", "kind": "Pod", "name": "web-1", "namespace": "shop", "uid": "uid-shop-1",
    }  # fmt: skip
    assert (event["type"], event["reason"]) == ("Normal", "FirstIdentity")
    assert event["message"].endswith(
        "started 212 ms, mounted 215 ms, token 215 ms, connected 260 ms, issued 330 ms, served 331 ms"
    )
    assert server.outcomes == {"written": 1}


async def test_attack_a_pod_that_tells_it_again_and_again_has_one_event(server: ApiServer) -> None:
    for _ in range(1000):
        server.note("shop", 1)
        await server.events_of.write()
    assert len(server.events) == 1
    server.clock.turn(minutes=6)
    server.note("shop", 1)
    await server.events_of.write()
    assert len(server.events) == 2


async def test_attack_the_pods_of_one_namespace_delay_no_event_of_another(server: ApiServer) -> None:
    for number in range(12_000):
        server.note("hostile", number)
    server.note("shop", 1)
    await server.events_of.write()
    assert "shop" in server.written_about()
    assert len(server.events) == 10, "some a second, whatever waits"
    assert server.outcomes["left-out"] == 11_001


async def test_attack_a_namespace_in_which_nothing_can_be_written_costs_only_its_own_events(
    server: ApiServer,
) -> None:
    for number in range(30):
        server.note("ending", number)
    for number in range(3):
        server.note("shop", number)
    await server.events_of.write()
    assert server.written_about() == ["shop"] * 3
    assert server.outcomes["failed"] == 7


async def test_what_a_replica_states_is_for_its_own_pod_and_only_in_the_form_of_a_pod_agent(
    server: ApiServer, tmp_path: Path
) -> None:
    under = AgentUnderClock(tmp_path, f"sqlite:///{tmp_path}/cluster-agent.sqlite3")
    publications = Publications(under.store, [], PollingPace(100, timedelta(seconds=15)), under.clock)
    callers = RequestCallers(
        _ServingRoots(Roots.of(under.control_plane.certificate)),  # type: ignore[arg-type]  # all asked
        under.room,
        under.administrators,
        RateLimits(Rates(*(Rate(100),) * 4), lambda: under.clock().timestamp()),
        under.clock,
    )
    refusals = Refusals(lambda: under.clock().timestamp(), under.clock)
    routes = watch_routes(under.issuer, publications, under.administrators, server.events_of)
    metrics = Metrics()
    app = create_app(callers, metrics, refusals, [routes, blessing_routes(under.issuer, metrics)])
    made = await under.secrets.make(under.administrator(), Application("shop", "web"))
    bootstrap = under.caller(made.credential.blessing)
    replica = await under.issuer.seek_blessings(
        bootstrap, csr_of(Principal.create()), under.token("web-1"), None
    )
    hostile = [
        "", "1", SENT + ",1", "-1,0,0,0,0,0", "1,2,3,4,5,1e3", "9,8,7,6,5,4", "1,2,3,4,5,99999999",
        "1,2,3,4,5," + "9" * 5000, "1,2,3,4,5,٦", " " + SENT, "acme:prod:shop:web:web-2", "{}",
    ]  # fmt: skip
    for value in hostile:
        answer = await call(app, replica.blessing, b'{"have": {}}', path="/v1/watch", more={HEADER: value})
        assert answer.status == 200, "what is not understood is ignored"
    # A bootstrap credential is no replica: the Pod of its Event would be any of the application.
    refused = await call(app, bootstrap.blessing, b'{"have": {}}', path="/v1/watch", more={HEADER: SENT})
    assert refused.status == 403
    await server.events_of.write()
    assert server.events == []

    await call(app, replica.blessing, b'{"have": {}}', path="/v1/watch", more={HEADER: SENT})
    await server.events_of.write()
    (event,) = server.events
    about = event["involvedObject"]
    assert (about["namespace"], about["name"]) == ("shop", "web-1")
    await under.store.close()


class _ServingRoots:
    def __init__(self, roots: Roots) -> None:
        self.control_plane_roots = roots
