"""Who may call which route, over mTLS: who has the webhook's certificate may keep secrets, and nothing else.

The routes are those of the app that the program serves: one that is new, and not said here to be for others,
is an administrator's, and must refuse the webhook.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.openapi.utils import get_openapi

from blessings import AccessList, Pattern, Principal
from cluster_agent.api.app import create_app
from cluster_agent.api.audit import Searched
from cluster_agent.api.inventory import Shown
from cluster_agent.api.request_callers import RequestCallers
from cluster_agent.api.routes import routers
from cluster_agent.audit.refusals import BURST, Refusals
from cluster_agent.errors import BadRequest, Forbidden
from cluster_agent.model import Application
from cluster_agent.monitoring.jwt_metrics import JwtMetrics
from cluster_agent.monitoring.metrics import Metrics
from cluster_agent.publications import PollingPace, Publications
from cluster_agent.rate_limits import Rate, RateLimits, Rates
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.roots.keys import RootKeys
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.roots.rotation import Schedule
from cluster_agent.server.certificate import Serving
from tests.cluster_agent.audit.test_audit import shown
from tests.cluster_agents import (
    AgentUnderClock,
    RunningClusterAgent,
    running_cluster_agent,
    write_serving_files,
)
from tests.csrs import csr_of

WEB = {"namespace": "shop", "serviceAccount": "web"}
OF_ANYBODY = {
    ("GET", "/healthz"),
    ("GET", "/v1/roots"),
    ("GET", "/v1/claim"),
    ("POST", "/v1/claim"),
    ("GET", "/v1/crl"),
    ("GET", "/v1/crl/{issuer}"),
    ("GET", "/v1/jwks"),
    ("GET", "/v1/federated-bundles"),
}
OF_SECRET_KEEPERS = {
    ("POST", "/v1/new-secret"),
    ("GET", "/v1/secrets"),
    ("POST", "/v1/forget-secret"),
    ("GET", "/v1/volume-ttls"),
}
# What each is sent by a client that is no replica.
OF_REPLICAS = {
    ("POST", "/v1/seek-blessings"): {"csr": ""},
    ("POST", "/v1/watch"): {"have": {}},
    ("POST", "/v1/jwt-svid"): {"audiences": ["db"]},
}
# Bodies that are well-formed: a malformed one is refused before anybody looks at who sent it.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/revoke": {"podUid": "uid-of-web-1"},
    "/v1/reinstate": WEB,
    "/v1/register-application": {**WEB, "name": "acme:prod:Fortuned"},
    "/v1/unregister-application": WEB,
    "/v1/upstream": {"chain": "PEM"},
    "/v1/federate-bundle": {"trustDomain": "partner", "bundle": {}},
    "/v1/unfederate-bundle": {"trustDomain": "partner"},
    "/v1/identity-roots/activate": {"key": "00", "force": True},
    "/v1/identity-roots/withdraw": {"key": "00", "force": True},
    "/v1/new-secret": WEB,
    "/v1/forget-secret": {"id": "unknown"},
}


@pytest.fixture
async def under(tmp_path: Path) -> AsyncIterator[AgentUnderClock]:
    agent = AgentUnderClock(tmp_path, f"sqlite:///{tmp_path / 'store.sqlite3'}")
    yield agent
    await agent.store.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    # Every route is called at once.
    with running_cluster_agent(tmp_path_factory.mktemp("agent"), rate_per_replica=10) as agent:
        yield agent


def served(under: AgentUnderClock, directory: Path) -> set[tuple[str, str]]:
    """Method and path of every route that is not anybody's."""
    clock = under.clock
    lists = CurrentLists(under.store, under.room, timedelta(hours=1), clock)
    pace = PollingPace(polls_per_second=100, shortest_pause=timedelta(seconds=15))
    schedule = Schedule(timedelta(days=365), 1, timedelta(days=1), timedelta(minutes=2))
    keeper = RootKeeper(
        room=under.room,
        records=under.store.root_succession,
        fleet=under.store.fleet,
        keys=RootKeys(directory, under.prefix.root, timedelta(days=1), makes_keys=True),
        schedule=schedule,
        trust=lambda _: None,
        now=clock,
    )
    write_serving_files(directory / "serving")
    serving = Serving(directory / "serving", under.room.identity_roots)
    rates = Rates(*(Rate(1),) * 4)
    publications = Publications(under.store, [lists], pace, clock)
    metrics = Metrics()
    everything = routers(
        administrators=under.administrators,
        secrets=under.secrets,
        issuer=under.issuer,
        jwt=under.jwt,
        federation=under.federation,
        jwt_metrics=JwtMetrics(metrics.registry, under.jwt_keys, clock),
        claims=under.claim_keeper(None, lambda _: None),
        registrar=under.registrar,
        revoker=under.make_revoker(lists),
        publications=publications,
        beginnings=None,
        keeper=keeper,
        serving=serving,
        metrics=metrics,
        shown=Shown(under.store.inventory, under.prefix, under.administrators, clock),
        searched=Searched(under.store.audit_search, under.administrators, clock),
    )
    limits = RateLimits(rates, time.monotonic)
    callers = RequestCallers(serving, under.room, under.administrators, limits, clock)
    app = create_app(callers, metrics, Refusals(time.monotonic, clock), everything)
    document = get_openapi(title="", version="", routes=app.routes)
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert routes > OF_ANYBODY | set(OF_REPLICAS) | OF_SECRET_KEEPERS
    return routes - OF_ANYBODY


def called(client: httpx.Client, method: str, path: str) -> httpx.Response:
    return client.request(method, path, json=BODIES.get(path, {}) if method == "POST" else None)


def reason(response: httpx.Response) -> str:
    return str(response.json()["error"]["reason"])


async def test_attack_the_webhooks_certificate_administers_nothing(
    under: AgentUnderClock, tmp_path: Path, running: RunningClusterAgent
) -> None:
    administrative = served(under, tmp_path) - OF_SECRET_KEEPERS - set(OF_REPLICAS)
    assert len(administrative) >= 11, administrative
    with running.control_plane_client("webhook") as client:
        for method, path in sorted(administrative):
            answer = called(client, method, path)
            assert (answer.status_code, reason(answer)) == (403, "NotAnAdministrator"), (method, path)
            assert "keepers' access list" in answer.json()["error"]["message"]
        for (method, path), body in OF_REPLICAS.items():
            answer = client.request(method, path, json=body)
            assert (answer.status_code, reason(answer)) == (403, "NotAReplica"), path


def test_the_webhook_keeps_secrets(running: RunningClusterAgent) -> None:
    with running.control_plane_client("webhook") as client:
        for method, path in sorted(OF_SECRET_KEEPERS):
            assert called(client, method, path).status_code == (
                404 if path == "/v1/forget-secret" else 200
            ), path
        # Of a namespace that lost its label.
        body = {"id": running.new_secret()["id"], "revoke": True}
        assert client.post("/v1/forget-secret", json=body).status_code == 200


async def test_a_refused_administrative_call_is_recorded_with_who_made_it(
    under: AgentUnderClock, tmp_path: Path, store_url: str
) -> None:
    administrative = served(under, tmp_path) - OF_SECRET_KEEPERS - set(OF_REPLICAS)
    (tmp_path / "running").mkdir()
    settings: dict[str, Any] = {} if store_url.startswith("sqlite") else {"database_url": store_url}
    with running_cluster_agent(tmp_path / "running", **settings) as agent:
        with agent.control_plane_client("webhook") as client:
            # Others that are refused meanwhile, as many as have a record of their own, and more.
            for number in range(BURST + 10):
                client.post("/v1/seek-blessings", json={"csr": str(number)})
            for method, path in sorted(administrative):
                assert called(client, method, path).status_code == 403
        file = agent.data_directory / "cluster-agent.sqlite3"
    url = store_url if "database_url" in settings else f"sqlite:///{file}"
    records = [one for one in shown(url) if one["act"] == "refused"]
    recorded = {one["path"] for one in records if one["caller"] == "vanadium-control-plane:webhook"}
    assert recorded >= {path for _, path in administrative}


async def test_administrators_may_do_what_others_may_not(
    under: AgentUnderClock, tmp_path: Path, running: RunningClusterAgent
) -> None:
    """Among it to keep secrets: they may revoke them and name whom they are for, so that adds nothing."""
    with running.control_plane_client("administrator") as client:
        for method, path in sorted(served(under, tmp_path) - set(OF_REPLICAS)):
            assert called(client, method, path).status_code in (200, 400, 404, 409), path


async def test_attack_another_part_of_the_control_plane_may_do_nothing(
    under: AgentUnderClock, tmp_path: Path, running: RunningClusterAgent
) -> None:
    with running.control_plane_client("cluster-agent") as client:
        for method, path in sorted(served(under, tmp_path) - set(OF_REPLICAS)):
            answer = called(client, method, path)
            assert (answer.status_code, reason(answer)) == (403, "NotAnAdministrator"), (method, path)


def test_by_default_the_webhook_keeps_secrets_and_nobody_administers(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path, administrators="") as agent:
        agent.new_secret()
        for extension in ("webhook", "administrator"):
            with agent.control_plane_client(extension) as client:
                assert client.post("/v1/revoke", json={"podUid": "uid"}).status_code == 403


def test_settings_of_before_leave_the_webhook_its_secrets_only(tmp_path: Path) -> None:
    """An installation that named the webhook's name as its administrator's, besides a person's."""
    before = "vanadium-control-plane:webhook,vanadium-control-plane:chief"
    with running_cluster_agent(tmp_path, administrators=before) as agent:
        agent.new_secret()
        with agent.control_plane_client("webhook") as client:
            assert client.post("/v1/revoke", json={"podUid": "uid"}).status_code == 403
        with agent.control_plane_client("chief") as client:
            client.post("/v1/revoke", json={"podUid": "uid", "ahead": True}).raise_for_status()
        assert "a caller in both lists keeps secrets, and does not administer" in agent.log()


async def test_attack_who_was_named_here_keeps_no_secrets_under_a_list_that_is_too_wide(
    under: AgentUnderClock,
) -> None:
    issued = await under.secrets.make(under.secret_keeper(), Application("shop", "web"))
    bootstrap = under.caller(issued.credential.blessing)
    replica = await under.issuer.seek_blessings(bootstrap, csr_of(Principal.create()), under.token(), None)
    everybody = AccessList((Pattern.parse("..."),))
    under.administrators.access_list = AccessList()
    under.administrators.secret_keepers = everybody
    for caller in (bootstrap, under.caller(replica.blessing)):
        with pytest.raises(Forbidden, match="nor in that of the secret keepers"):
            await under.secrets.live(caller)
    assert len(await under.secrets.live(under.secret_keeper())) == 1


async def test_attack_an_application_whose_replicas_would_keep_secrets(under: AgentUnderClock) -> None:
    under.administrators.secret_keepers = AccessList((Pattern.parse("acme:keeper"),))
    with pytest.raises(BadRequest, match="or keeps its secrets"):
        await under.registrar.register(
            under.administrator(), Application("shop", "web"), "acme:keeper", None, None
        )
