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

import httpx
import pytest
import requests
import schemathesis
from cryptography import x509
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from blessings import Authority, Blessing, Name, Principal, fingerprint
from blessings.keys import check_public_key
from tests.claims import CODE, Administrator
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.openapi import PUBLISHED, served_by
from tests.waiting import PATIENCE_SECONDS

EXAMPLES = 15
# To a route that refuses this caller before it looks at what was sent.
REFUSED_EXAMPLES = 5
MOST_BODY_BYTES = 60_000
# Percent-encoded, it is a few times as long; the server reads some tens of kilobytes.
MOST_QUERY_BYTES = 4_096
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = json.loads(PUBLISHED.read_text())
OPERATIONS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item]
# A client without a certificate gets answers other than refusals from these routes only,
OF_EVERYBODY = {
    "/healthz",
    "/v1/roots",
    "/v1/claim",
    "/v1/crl",
    "/v1/crl/{issuer}",
    "/v1/jwks",
    "/v1/federated-bundles",
}
# and a client with a bootstrap credential from this one too.
OF_PODS = {"/v1/seek-blessings"}
OF_SECRET_KEEPERS = {"/v1/new-secret", "/v1/secrets", "/v1/forget-secret", "/v1/volume-ttls"}
OF_REPLICAS = {"/v1/watch", "/v1/jwt-svid"}


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

    def ask(self, method: str, path: str, **sent: Any) -> Any:
        """The good answer to a good request, which conforms to the document."""
        if "body" in sent:
            sent["media_type"] = "application/json"
        response = self.send(self.schema[path][method].Case(**sent))
        assert response.status_code == 200, response.content
        return response

    def send(self, case: Any, data: st.DataObject | None = None) -> Any:
        """The answer to it, which conforms to the document. Some of what is sent becomes something that
        means something to the agent."""
        if data is not None and isinstance(case.body, dict):
            for name in sorted(self.knows.keys() & case.body.keys()):
                if data.draw(st.booleans()):
                    case.body[name] = self.knows[name]()
        response = case.call(
            session=self.session,
            verify=self.session.verify,
            cert=self.session.cert,
            timeout=PATIENCE_SECONDS,
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


def of_control_plane(agent: RunningClusterAgent, extension: str) -> tuple[Principal, Blessing]:
    principal = Principal.create()
    blessing = agent.control_plane.bless(
        principal.public_key, extension, now=datetime.now(UTC), lifetime=timedelta(days=1)
    )
    return principal, blessing


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
    """An agent without rates, on each store."""
    flags = without_rates()
    if request.param == "postgresql":
        flags["database_url"] = request.getfixturevalue("postgresql").new_database()
    with running_cluster_agent(tmp_path_factory.mktemp("free"), **flags) as agent:
        yield agent


@pytest.fixture(scope="module")
def administrator(free: RunningClusterAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    directory = tmp_path_factory.mktemp("administrator")
    with caller(free, directory, *of_control_plane(free, "administrator")) as one:
        root = one.session.get(f"{free.url}/v1/identity-roots").json()["roots"][0]["key"]
        one.knows = {
            "key": lambda: root,
            "name": lambda: "acme:prod:Chosen",
            "id": lambda: free.new_secret(namespace="other")["id"],
        }
        yield one


@pytest.fixture(scope="module")
def secret_keeper(free: RunningClusterAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with caller(free, tmp_path_factory.mktemp("keeper"), *of_control_plane(free, "webhook")) as one:
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


def sends_anything(
    who: Caller, method: str, path: str, judge: Callable[[Any], None], *, opened: bool = True
) -> None:
    """Sends what the document allows, and what it does not; `judge` is told of each answer. `opened` when
    the route looks at what this caller sends."""
    operation = who.schema[path][method]
    cases = operation.as_strategy()
    if "requestBody" in operation.definition.raw or "parameters" in operation.definition.raw:
        cases |= operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @settings(
        max_examples=EXAMPLES if opened else REFUSED_EXAMPLES,
        # The same each time; and what fails is shown as it is rather than sought smaller.
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, data=st.data())
    def send(case: Any, data: st.DataObject) -> None:
        # Long before the most that it may be, so that the answer is always the route's.
        assume(len(json.dumps(case.body, default=str)) < MOST_BODY_BYTES)
        assume(len(json.dumps(case.query, default=str)) < MOST_QUERY_BYTES)
        judge(who.send(case, data))

    send()


def test_the_published_document_is_what_the_program_says(free: RunningClusterAgent) -> None:
    """Write it anew with `python -m tests.openapi`."""
    assert served_by(free) == DOCUMENT


def test_every_operation_is_told_as_a_client_generator_needs_it() -> None:
    operations = [operation for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for one in operations:
        assert one["summary"]
        assert one["description"]
        assert "422" not in one["responses"]
        for status, response in one["responses"].items():
            waits = status in ("429", "503")
            assert ("Retry-After" in response.get("headers", {})) == waits, (one["operationId"], status)
    assert {
        path for path, item in DOCUMENT["paths"].items() for one in item.values() if not one["security"]
    } == (OF_EVERYBODY)


def principal_is_listed(replicas: list[dict[str, Any]], principal: Principal) -> bool:
    return fingerprint(principal.public_key) in [one["publicKey"] for one in replicas]


def test_every_good_answer_is_as_described(administrator: Caller, pod: Caller, tmp_path: Path) -> None:
    """Without the two that only an agent that is to be claimed has good answers for."""
    answered: set[tuple[str, str]] = set()

    def ask(who: Caller, method: str, path: str, **sent: Any) -> Any:
        answered.add((method, path))
        return who.ask(method, path, **sent).json()

    for path in sorted(OF_EVERYBODY - {"/v1/crl/{issuer}"}):
        ask(pod, "get", path)
    application = {"namespace": "shop", "serviceAccount": "cart"}
    secret = ask(administrator, "post", "/v1/new-secret", body=application)
    assert secret["id"] in [one["id"] for one in ask(administrator, "get", "/v1/secrets")["secrets"]]
    principal = Principal.create()
    blessed = ask(
        pod,
        "post",
        "/v1/seek-blessings",
        body={"csr": csr_of(principal), "token": pod_token(pod.agent.tokens), "ttlSeconds": 300},
    )
    replica_blessing = Blessing.from_pem(blessed["chain"])
    with caller(pod.agent, tmp_path, principal, replica_blessing) as replica:
        news = ask(replica, "post", "/v1/watch", body={"have": {"roots": 0, "crl": 0, "jwt-keys": 0}})
        token = pod_token(pod.agent.tokens)
        ask(replica, "post", "/v1/jwt-svid", body={"audiences": ["db"], "token": token})
    assert news["publications"]["jwt-keys"]["content"] == ask(pod, "get", "/v1/jwks")
    assert news["publications"]["roots"]["content"] == blessed["roots"]
    ask(administrator, "get", "/v1/acknowledgements")
    assert principal_is_listed(ask(administrator, "get", "/v1/replicas")["replicas"], principal)
    ask(administrator, "get", "/v1/revocations")
    ask(administrator, "get", "/v1/audit")
    registered = {**application, "name": "acme:prod:Cart", "ttlSeconds": 600}
    ask(administrator, "post", "/v1/register-application", body=registered)
    ask(administrator, "get", "/v1/applications")
    assert ask(administrator, "get", "/v1/volume-ttls")["registered"] == [{**application, "ttlSeconds": 600}]
    assert ask(administrator, "post", "/v1/unregister-application", body=application)["known"]
    ask(administrator, "post", "/v1/forget-secret", body={"id": secret["id"], "revoke": True})
    serial = f"{replica_blessing.leaf.serial_number:x}"
    assert ask(administrator, "post", "/v1/revoke", body={"serial": serial})["certificates"] >= 1
    name = "acme:prod:shop:web"
    answered.add(("get", "/v1/crl/{issuer}"))
    administrator.ask("get", "/v1/crl/{issuer}", path_parameters={"issuer": name})
    for what in (
        {"podUid": "another", "ahead": True},
        {"secret": secret["id"]},
        {"application": application},
    ):
        ask(administrator, "post", "/v1/revoke", body=what)
    assert ask(administrator, "post", "/v1/reinstate", body=application)["wasRevoked"]
    bundle = {"keys": [{**key, "use": "jwt-svid"} for key in ask(pod, "get", "/v1/jwks")["keys"]]}
    partner = {"trustDomain": "partner"}
    ask(administrator, "post", "/v1/federate-bundle", body={**partner, "bundle": bundle})
    assert list(ask(pod, "get", "/v1/federated-bundles")["bundles"]) == ["partner"]
    ask(administrator, "post", "/v1/unfederate-bundle", body=partner)
    ask(administrator, "post", "/v1/rotate-jwt-keys", body={"atOnce": True})
    assert len(ask(administrator, "get", "/v1/jwt-keys")["keys"]) == 1
    ask(administrator, "get", "/v1/upstream")
    roots = ask(administrator, "get", "/v1/identity-roots")["roots"]
    if "database_url" in administrator.agent.flags:
        # Keys that replicas share are put there by an administrator.
        key = Authority.create_root(
            Name.parse("acme"), Principal.create(), now=datetime.now(UTC), lifetime=timedelta(days=9)
        )
        pem = key.principal.to_pem().decode() + key.blessing.to_pem()
        (administrator.agent.keys_directory / "root-2.pem").write_text(pem)
    prepared = ask(administrator, "post", "/v1/identity-roots/prepare")["roots"]
    (new,) = {one["key"] for one in prepared} - {one["key"] for one in roots}
    ask(administrator, "post", "/v1/identity-roots/activate", body={"key": new, "force": True})
    old = {"key": roots[0]["key"], "force": True}
    ask(administrator, "post", "/v1/identity-roots/withdraw", body=old)
    assert set(OPERATIONS) - answered == {("post", "/v1/claim"), ("post", "/v1/upstream")}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_administrator_is_answered_as_described(administrator: Caller, method: str, path: str) -> None:
    def judge(response: Any) -> None:
        if path not in OF_PODS | OF_REPLICAS:
            assert response.status_code not in (401, 403, 429)

    sends_anything(administrator, method, path, judge)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_secret_keeper_is_answered_about_secrets_and_else_refused(
    secret_keeper: Caller, method: str, path: str
) -> None:
    def judge(response: Any) -> None:
        if path in OF_SECRET_KEEPERS:
            assert response.status_code in (200, 400, 403, 404, 415)
        elif path not in OF_EVERYBODY:
            assert response.status_code in (400, 403, 415)

    opened = path in OF_EVERYBODY | OF_SECRET_KEEPERS
    sends_anything(secret_keeper, method, path, judge, opened=opened)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_bootstrap_credential_opens_nothing_but_the_first_blessing(
    pod: Caller, method: str, path: str
) -> None:
    def judge(response: Any) -> None:
        if path not in OF_EVERYBODY | OF_PODS:
            assert response.status_code in (400, 403, 415)

    sends_anything(pod, method, path, judge, opened=path in OF_EVERYBODY | OF_PODS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_attack_without_a_certificate_there_is_nothing_but_refusals(
    nobody: Caller, method: str, path: str
) -> None:
    def judge(response: Any) -> None:
        if path not in OF_EVERYBODY:
            assert response.status_code == 401

    sends_anything(nobody, method, path, judge, opened=path in OF_EVERYBODY)


@pytest.fixture(scope="module")
def claimable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    """An agent that waits to be claimed, without rates."""
    directory = tmp_path_factory.mktemp("claimable")
    (directory / "code").write_text(CODE)
    settings = {"claim": "required", "claim_code_file": directory / "code", **without_rates()}
    with running_cluster_agent(directory, **settings) as agent:
        yield agent


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_while_unclaimed_there_is_nothing_but_refusals_and_what_to_claim(
    claimable: RunningClusterAgent, tmp_path: Path, method: str, path: str
) -> None:
    def judge(response: Any) -> None:
        if (method, path) == ("post", "/v1/claim"):
            assert response.status_code in (400, 403, 415)
        elif path not in OF_EVERYBODY:
            assert response.status_code in (401, 404)

    with caller(claimable, tmp_path, None, None) as nobody:
        sends_anything(nobody, method, path, judge, opened=path in OF_EVERYBODY)


@pytest.mark.parametrize("path", ["/v1/new-secret", "/v1/register-application", "/v1/seek-blessings"])
def test_while_unclaimed_nothing_is_named_for_an_administrator_either(
    claimable: RunningClusterAgent, path: str
) -> None:
    bodies: dict[str, dict[str, object]] = {
        "/v1/new-secret": {"namespace": "shop", "serviceAccount": "web"},
        "/v1/register-application": {"namespace": "shop", "serviceAccount": "web", "name": "acme:prod:Web"},
        "/v1/seek-blessings": {"csr": csr_of(Principal.create()), "token": pod_token(claimable.tokens)},
    }
    with claimable.control_plane_client() as client:
        response = client.post(path, json=bodies[path])
    assert (response.status_code, response.json()["error"]["reason"]) == (503, "Unclaimed")
    assert int(response.headers["retry-after"]) >= 1


def test_a_claim_and_a_renewed_chain_are_answered_as_described(
    claimable: RunningClusterAgent, tmp_path: Path
) -> None:
    root = Administrator(datetime.now(UTC))
    with caller(claimable, tmp_path, None, None) as nobody:
        csr = x509.load_pem_x509_csr(nobody.ask("get", "/v1/claim").json()["csr"].encode())
        key = check_public_key(csr.public_key())
        short = root.grant(key, lifetime=timedelta(days=30))
        nobody.ask("post", "/v1/claim", body=root.claim(key, chain=short))
        again = nobody.send(
            nobody.schema["/v1/claim"]["post"].Case(body=root.claim(key), media_type="application/json")
        )
        assert again.status_code == 409
    (tmp_path / "administrator").mkdir()
    with caller(claimable, tmp_path / "administrator", *root.leaf()) as administrator:
        administrator.ask("post", "/v1/upstream", body={"chain": root.grant(key)})
        administrator.ask("get", "/v1/upstream")


def answer_to(client: httpx.Client, path: str, content: bytes, **headers: str) -> tuple[int, str]:
    kind = {"content-type": "application/json", **headers}
    response = client.post(path, content=content, headers=kind)
    return response.status_code, response.json()["error"]["reason"]


DEEP = b'{"have": {"roots": ' + b"[" * 20_000 + b"]" * 20_000 + b"}}"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/revoke", b'{"podUid": null}'),
        ("/v1/revoke", b'{"application": null}'),
        ("/v1/revoke", b'{"name": "acme\\u0000:prod"}'),
        ("/v1/revoke", b'{"podUid": "\\ud800"}'),
        ("/v1/revoke", b'{"\\ud800": 1}'),
        ("/v1/watch", b'{"have": {"\\ud800": 1}}'),
        ("/v1/watch", b'{"have": {"roots": 1e400}}'),
        ("/v1/watch", b'{"have": {"roots": NaN}}'),
        ("/v1/watch", b'{"have": {"roots": ' + b"9" * 5000 + b"}}"),
        ("/v1/watch", DEEP),
        ("/v1/seek-blessings", b'{"csr": "", "ttlSeconds": 100000000000000000000}'),
        ("/v1/new-secret", b'{"namespace": "shop\\n", "serviceAccount": "web"}'),
        ("/v1/new-secret", b"\xff\xfe{}"),
        ("/v1/new-secret", b'{"namespace": "\xff"}'),
    ],
)
def test_attack_odd_json_is_malformed_and_nothing_worse(
    free: RunningClusterAgent, path: str, content: bytes
) -> None:
    with free.control_plane_client() as client:
        assert answer_to(client, path, content) == (400, "MalformedRequest")


def test_attack_texts_that_a_database_does_not_take(free: RunningClusterAgent) -> None:
    """PostgreSQL has no NUL in its texts."""
    with free.control_plane_client() as client:
        for path, body in (
            ("/v1/revoke", {"podUid": "uid\x00"}),
            ("/v1/revoke", {"secret": "id\x00"}),
            ("/v1/forget-secret", {"id": "id\x00"}),
            ("/v1/forget-secret", {"id": "id\x00", "revoke": True}),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code == 400, (path, body, answer.text)
            assert answer.json()["error"]["reason"] == "MalformedRequest"


def test_a_body_that_is_not_said_to_be_json_is_told_so(free: RunningClusterAgent) -> None:
    good = b'{"namespace": "shop", "serviceAccount": "web"}'
    with free.control_plane_client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            asked = answer_to(client, "/v1/new-secret", good, **{"content-type": kind})
            assert asked == (415, "UnsupportedMediaType")


def test_attack_a_strangers_body_is_not_read(free: RunningClusterAgent) -> None:
    with free.client(None, None) as client:
        for content in (b"{", b"[" * 1000, b'{"namespace": 7}'):
            assert answer_to(client, "/v1/new-secret", content) == (401, "ClientCertificateRequired")


def test_attack_a_small_request_gets_no_large_answer(free: RunningClusterAgent) -> None:
    content = json.dumps({str(number): 1 for number in range(5000)}).encode()
    with free.control_plane_client() as client:
        long = client.post("/v1/revoke", content=content, headers={"content-type": "application/json"})
        named = client.post("/v1/revoke", json={"x" * 60_000: 1})
    for response in (long, named):
        assert response.status_code == 400
        assert len(response.content) < 2000


def test_attack_a_host_header_that_is_none(free: RunningClusterAgent) -> None:
    with free.client(None, None) as client:
        for path in ("/nowhere", "/v1/new-secret", "/healthz"):
            assert client.get(path, headers={"host": "["}).status_code in (200, 404, 405)


def test_another_method_is_told_which_there_are(free: RunningClusterAgent) -> None:
    with free.client(None, None) as client:
        response = client.delete("/v1/new-secret")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
