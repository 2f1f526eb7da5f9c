"""The OpenAPI document, against the program over mutual TLS: whatever is sent, by whomever, the answer is one
that the document describes, and never a failure of our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from blessings import Blessing, Principal
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.openapi import PUBLISHED

EXAMPLES = 12
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = json.loads(PUBLISHED.read_text())
OPERATIONS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item]
# Whoever has no certificate gets answers other than refusals from these, and from no others.
OF_EVERYBODY = {"/healthz", "/v1/roots", "/v1/claim", "/v1/crl", "/v1/crl/{issuer}"}
# And whoever has a bootstrap credential, from this one too.
OF_PODS = {"/v1/seek-blessings"}


def schema_at(url: str) -> Any:
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=url)
    return schema


@dataclass
class Caller:
    """A session with a client certificate, or without; and what somebody may know who wants to get far."""

    agent: RunningClusterAgent
    session: requests.Session
    schema: Any
    knows: dict[str, Callable[[], object]] = field(default_factory=dict)

    def send(self, case: Any, data: st.DataObject | None = None) -> Any:
        """The answer to it, which conforms to the document. Some of what is sent becomes something that
        means something to the agent."""
        if data is not None and isinstance(case.body, dict):
            for name in sorted(self.knows.keys() & case.body.keys()):
                if data.draw(st.booleans()):
                    case.body[name] = self.knows[name]()
        response = case.call(
            session=self.session, verify=self.session.verify, cert=self.session.cert, timeout=60
        )
        case.validate_response(response, checks=[not_a_server_error, *CONFORMANCE])
        return response


@contextmanager
def caller(
    agent: RunningClusterAgent, directory: Path, principal: Principal | None, blessing: Blessing | None
) -> Iterator[Caller]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = written(directory / "ca.pem", agent.server_roots.to_pem())
        if principal is not None and blessing is not None:
            session.cert = (
                written(directory / "client.pem", blessing.to_pem()),
                written(directory / "client-key.pem", principal.to_pem().decode()),
            )
        yield Caller(agent, session, schema_at(agent.url))


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def without_rates() -> dict[str, Any]:
    """What is asked here is asked more often than anybody should."""
    return {f"rate_per_{who}": 10**6 for who in ("address", "administrator", "application", "replica")}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def free(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningClusterAgent]:
    """An agent without rates, on each store: they take different texts."""
    flags = without_rates()
    if request.param == "postgresql":
        flags["database_url"] = request.getfixturevalue("postgresql").new_database()
    with running_cluster_agent(tmp_path_factory.mktemp("free"), **flags) as agent:
        yield agent


@pytest.fixture(scope="module")
def administrator(free: RunningClusterAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    principal = Principal.create()
    blessing = free.control_plane.bless(
        principal.public_key, "webhook", now=datetime.now(UTC), lifetime=timedelta(days=1)
    )
    with caller(free, tmp_path_factory.mktemp("administrator"), principal, blessing) as one:
        root = one.session.get(f"{free.url}/v1/identity-roots").json()["roots"][0]["key"]
        one.knows = {
            "key": lambda: root,
            "name": lambda: "acme:prod:Chosen",
            "id": lambda: free.new_secret(namespace="other")["id"],
        }
        yield one


@pytest.fixture(scope="module")
def pod(free: RunningClusterAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    credential = free.new_secret()["credential"]
    principal = Principal.from_pem(credential["privateKey"].encode())
    blessing = Blessing.from_pem(credential["certificateChain"])
    with caller(free, tmp_path_factory.mktemp("pod"), principal, blessing) as one:
        one.knows = {
            "csr": lambda: csr_of(Principal.create()),
            "token": lambda: pod_token(free.tokens),
            "ttlSeconds": lambda: 300,
        }
        yield one


@pytest.fixture(scope="module")
def nobody(free: RunningClusterAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with caller(free, tmp_path_factory.mktemp("nobody"), None, None) as one:
        yield one


def sends_anything(who: Caller, method: str, path: str, judge: Callable[[Any], None]) -> None:
    """Sends what the document allows, and what it does not; `judge` is told of each answer."""
    operation = who.schema[path][method]
    cases = operation.as_strategy()
    if "requestBody" in operation.definition.raw or "parameters" in operation.definition.raw:
        cases |= operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @settings(
        max_examples=EXAMPLES,
        # The same each time; and what fails is shown as it is rather than sought smaller.
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, data=st.data())
    def send(case: Any, data: st.DataObject) -> None:
        judge(who.send(case, data))

    send()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_administrator_is_answered_as_described(administrator: Caller, method: str, path: str) -> None:
    def judge(response: Any) -> None:
        assert response.status_code not in (401, 403, 429)

    sends_anything(administrator, method, path, judge)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_bootstrap_credential_opens_nothing_but_the_first_blessing(
    pod: Caller, method: str, path: str
) -> None:
    def judge(response: Any) -> None:
        if path not in OF_EVERYBODY | OF_PODS:
            assert response.status_code in (400, 403, 415)

    sends_anything(pod, method, path, judge)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_attack_without_a_certificate_there_is_nothing_but_refusals(
    nobody: Caller, method: str, path: str
) -> None:
    def judge(response: Any) -> None:
        if path not in OF_EVERYBODY:
            assert response.status_code == 401

    sends_anything(nobody, method, path, judge)
