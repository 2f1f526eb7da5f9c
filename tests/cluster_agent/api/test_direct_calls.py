"""A call that is answered directly is answered as FastAPI would: the same requests to both, of one agent with
a real store, real tokens and the test's clock. Who the client is, a connection would say; here the test does.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message

from blessings import Blessing, Principal, Roots
from cluster_agent.api.app import create_app, served
from cluster_agent.api.blessings import blessing_routes
from cluster_agent.api.public import public_routes
from cluster_agent.api.request_callers import RequestCallers
from cluster_agent.audit.refusals import Refusals
from cluster_agent.model import Application
from cluster_agent.monitoring.metrics import Metrics
from cluster_agent.rate_limits import Rate, RateLimits, Rates
from cluster_agent.server.connections import given_blessing
from tests.cluster_agents import AgentUnderClock
from tests.csrs import csr_of

SEEK = "/v1/seek-blessings"
JSON = "application/json"


@dataclass
class Served:
    """An agent, its application, and the same with direct calls."""

    under: AgentUnderClock
    app: FastAPI
    direct: ASGIApp
    metrics: Metrics
    bootstrap: Blessing
    recorded: Refusals

    def good(self) -> dict[str, Any]:
        return {"csr": csr_of(Principal.create()), "token": self.under.token("web-1")}

    def refusals(self) -> float:
        found = [
            sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "vanadium_cluster_agent_refusals_total"
        ]
        return sum(found)


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes
    route: str | None
    raised: list[Exception] = field(default_factory=list)

    def told(self) -> tuple[Any, ...]:
        return self.status, self.headers, self.body, self.route, [type(one) for one in self.raised]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Served]:
    under = AgentUnderClock(tmp_path, f"sqlite:///{tmp_path}/cluster-agent.sqlite3")
    metrics = Metrics()
    rates = Rates(*(Rate(0.5),) * 4)
    refusals = Refusals(lambda: under.clock().timestamp(), under.clock)
    app = create_app(
        RequestCallers(
            _ServingRoots(Roots.of(under.control_plane.certificate)),  # type: ignore[arg-type]  # all asked
            under.room,
            under.administrators,
            RateLimits(rates, lambda: under.clock().timestamp()),
            under.clock,
        ),
        metrics,
        refusals,
        [public_routes(under.room, under.issuer.attestor), blessing_routes(under.issuer, metrics)],
    )
    issued = await under.secrets.make(under.administrator(), Application("shop", "web"))
    yield Served(under, app, served(app), metrics, issued.credential.blessing, refusals)
    await under.store.close()


@dataclass
class _ServingRoots:
    control_plane_roots: Roots


async def call(
    app: ASGIApp,
    blessing: Blessing | None,
    body: bytes,
    *,
    kind: str | None = JSON,
    method: str = "POST",
    path: str = SEEK,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Answered:
    headers = [(b"host", b"localhost")] + ([] if kind is None else [(b"content-type", kind.encode())])
    headers += [(name.encode(), value.encode()) for name, value in more.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "https",
        "method": method,
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("10.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
        "extensions": given_blessing(blessing),
    }
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return left.pop() if left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    raised: list[Exception] = []
    try:
        await app(scope, receive, send)
    except RuntimeError as error:
        raised.append(error)
    start, *rest = sent
    assert all(one["type"] == "http.response.body" for one in rest), "answered twice"
    return Answered(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(one["body"] for one in rest),
        getattr(scope.get("route"), "path", None),
        raised,
    )


async def test_a_good_call_is_answered_in_the_form_that_fastapi_gives_it(agent: Served) -> None:
    answers = [
        await call(app, agent.bootstrap, json.dumps(agent.good()).encode())
        for app in (agent.app, agent.direct)
    ]
    forms = []
    for answer in answers:
        assert answer.status == 200, answer.body
        said = json.loads(answer.body)
        assert str(Blessing.from_pem(said["chain"]).presented) == "acme:prod:shop:web:web-1"
        forms.append(
            (list(said), said["roots"], said["notAfter"], answer.headers["content-type"], answer.route)
        )
    assert forms[0] == forms[1]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", JSON),
        (b"no JSON", JSON),
        (b"[]", JSON),
        (b"null", JSON),
        (b"{}", JSON),
        (b'{"csr": 7}', JSON),
        (b'{"csr": "", "token": null}', JSON),
        (b'{"csr": "", "podUid": "of another"}', JSON),
        (b'{"csr": "", "ttlSeconds": 0}', JSON),
        (b'{"csr": "", "ttlSeconds": 1e300}', JSON),
        (b'{"csr": "", "ttlSeconds": "600"}', JSON),
        (b'{"csr": "", "ttlSeconds": NaN}', JSON),
        (b'{"csr": "\\ud800"}', JSON),
        (b'{"csr": "\xff"}', JSON),
        ('{"csr": ""}'.encode("utf-16"), JSON),
        (b'{"csr": "", "csr": "twice"}', JSON),
        (b'{"csr": "' + b"x" * 9000 + b'"}', JSON),
        (b'{"csr": "no request", "token": "no token"}', JSON),
        (b'{"csr": "no request"}', "application/vnd.of-somebody+json; charset=utf-8"),
        (b'{"csr": ""}', "text/plain"),
        (b'{"csr": ""}', "application/of/somebody+json"),
        (b'{"csr": ""}', None),
    ],
)
async def test_what_is_wrong_with_a_call_is_told_in_the_same_words_and_counted_once(
    agent: Served, body: bytes, kind: str | None
) -> None:
    through = await call(agent.app, agent.bootstrap, body, kind=kind)
    before = agent.refusals()
    direct = await call(agent.direct, agent.bootstrap, body, kind=kind)
    assert through.status in (400, 403, 415), through.body
    assert direct.told() == through.told()
    assert (before, agent.refusals()) == (1, 2)


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b'{"csr": "", "token": ""}'])
async def test_a_call_of_nobody_is_refused_before_it_is_read(agent: Served, body: bytes) -> None:
    through, direct = [await call(app, None, body) for app in (agent.app, agent.direct)]
    assert through.status == 401
    assert direct.told() == through.told()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", SEEK), ("HEAD", SEEK), ("OPTIONS", SEEK), ("POST", SEEK + "/")]
)
async def test_every_other_method_and_path_is_fastapis(agent: Served, method: str, path: str) -> None:
    through, direct = [
        await call(app, agent.bootstrap, b"", method=method, path=path) for app in (agent.app, agent.direct)
    ]
    assert through.status in (404, 405)
    assert direct.told() == through.told()


@pytest.mark.parametrize("body", [b"no JSON", b'{"csr": "no request", "token": ""}'])
async def test_attack_malformed_calls_count_towards_the_callers_rate_once_each(
    agent: Served, body: bytes
) -> None:
    """Half a call a second is 10 at once."""
    statuses = [(await call(agent.direct, agent.bootstrap, body)).status for _ in range(12)]
    assert statuses == [statuses[0]] * 10 + [429] * 2
    assert statuses[0] in (400, 403)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["direct", "which FastAPI alone can read"])
async def test_a_failure_of_ours_is_answered_once_and_left_to_the_server_to_log(
    agent: Served, monkeypatch: pytest.MonkeyPatch, mark: bytes
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("the store is upside down")

    monkeypatch.setattr(agent.under.issuer, "seek_blessings", fails)
    body = mark + json.dumps(agent.good()).encode()
    through, direct = [await call(app, agent.bootstrap, body) for app in (agent.app, agent.direct)]
    assert through.status == 500
    assert len(through.raised) == 1
    assert b"upside down" not in through.body
    assert direct.told() == through.told()


async def test_attack_a_log_that_cannot_be_written_costs_no_count_and_no_record(
    agent: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief's presented credential would otherwise leave no trace while the disk under stderr is full."""

    class FullDisk:
        def __getattr__(self, name: str) -> Any:
            def write(*_arguments: object, **_values: object) -> None:
                raise OSError(28, "No space left on device")

            return write

    monkeypatch.setattr("cluster_agent.api.error_answers._log", FullDisk())
    body = json.dumps({**agent.good(), "token": agent.under.token("web-1", namespace="elsewhere")}).encode()
    for app in (agent.app, agent.direct):
        with suppress(OSError):  # the server's to answer with 500
            await call(app, agent.bootstrap, body)
    assert agent.refusals() == 2
    (record,) = agent.recorded.take()
    assert record.caller == str(agent.bootstrap.presented)
    assert record.details["count"] == 2
