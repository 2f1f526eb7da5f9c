"""docs/agent-openapi.json states what agent.sock answers: every route, every status, every field."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blessings import Principal, delegate
from pod_agent.agent_protocol import AgentProtocol
from pod_agent.http.exchange import MOST_BODY_BYTES
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.revocation_lists import HeldLists
from tests.agent_client.serving import serving_agent_protocol
from tests.chains import HOUR, NOW, realm
from tests.checkout import CHECKOUT
from tests.clock import Clock
from tests.pod_agent.published_lists import APPLICATION, OTHER, REALM, Source, signed

DOCUMENT = json.loads((CHECKOUT / "docs/agent-openapi.json").read_text())
CHAIN = REALM.blessing.to_pem()
KEY = Principal.create().public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
BLESS = {"publicKey": KEY, "extension": "phone", "lifetimeSeconds": 60, "caveats": []}
LISTS = "/v1/crl/{application}"


@pytest.fixture(scope="module")
def blessed() -> Iterator[httpx.Client]:
    source = Source()
    source.publish(1, signed(1, 7))
    current = CurrentIdentity(Clock(NOW))
    served = Identity(1, REALM.replica, REALM.blessing, REALM.blessing.presented, REALM.roots, NOW + HOUR / 2)
    asyncio.run(current.set(served))
    with serving_agent_protocol(current, HeldLists(source)) as path, client(str(path)) as made:
        yield made


@pytest.fixture(scope="module")
def waiting() -> Iterator[httpx.Client]:
    """Before the first blessing."""
    with (
        serving_agent_protocol(CurrentIdentity(Clock(NOW)), HeldLists(Source())) as path,
        client(str(path)) as made,
    ):
        yield made


def client(path: str) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://agent")


def check(operation: str, path: str, response: httpx.Response) -> None:
    """Fails unless the document states this answer."""
    stated = DOCUMENT["paths"][path][operation]["responses"][str(response.status_code)]
    if "$ref" in stated:
        stated = DOCUMENT["components"]["responses"][stated["$ref"].rpartition("/")[2]]
    if "content" not in stated:
        assert response.content == b""
        return
    kind = response.headers["content-type"]
    content: Any = response.text if kind != "application/json" else response.json()
    schema = {**stated["content"][kind]["schema"], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(content)
    if isinstance(content, dict):
        name = stated["content"][kind]["schema"]["$ref"].rpartition("/")[2]
        assert set(content) == set(DOCUMENT["components"]["schemas"][name]["properties"])


@pytest.mark.parametrize(
    ("operation", "path", "body", "status"),
    [
        ("get", "/v1/names", None, 200),
        ("get", "/v1/chain", None, 200),
        ("get", "/v1/roots", None, 200),
        ("post", "/v1/sign", {"message": "YWJj"}, 200),
        ("post", "/v1/sign", {"message": "?"}, 400),
        ("post", "/v1/sign", {"message": "a" * MOST_BODY_BYTES}, 413),
        ("post", "/v1/bless", BLESS, 200),
        ("post", "/v1/bless", {**BLESS, "extension": ""}, 400),
        ("post", "/v1/verify", {"chain": CHAIN}, 200),
        ("post", "/v1/verify", {"chain": CHAIN, "delegations": 1, "method": "Get", "discharges": []}, 200),
        ("post", "/v1/verify", {"chain": CHAIN, "roots": []}, 400),
    ],
)
def test_the_document_states_the_answer(
    blessed: httpx.Client, operation: str, path: str, body: object, status: int
) -> None:
    if status == 200 and body is not None:
        request = DOCUMENT["paths"][path][operation]["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**request, "components": DOCUMENT["components"]}).validate(body)
    response = blessed.request(operation.upper(), path, json=body)
    assert response.status_code == status
    check(operation, path, response)


def test_the_document_states_the_answers_about_lists_and_of_a_watch(blessed: httpx.Client) -> None:
    lists = blessed.get(f"/v1/crl/{APPLICATION}")
    assert lists.status_code == 200
    check("get", LISTS, lists)
    for response, status in (
        (blessed.get(f"/v1/crl/{APPLICATION}", headers={"If-None-Match": lists.headers["etag"]}), 304),
        (blessed.get(f"/v1/crl/{OTHER}"), 404),
        (blessed.get("/v1/crl/a::b"), 400),
    ):
        assert response.status_code == status
        check("get", LISTS, response)
    with blessed.stream("GET", "/v1/watch") as watch:
        assert (
            watch.headers["content-type"]
            in DOCUMENT["paths"]["/v1/watch"]["get"]["responses"]["200"]["content"]
        )
        served = {"$ref": "#/components/schemas/Served", "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(served).validate(json.loads(next(watch.iter_lines())))
    check("get", "/v1/watch", blessed.get("/v1/watch?after=-1"))


def test_the_document_states_the_answers_about_blessings_for_peers(blessed: httpx.Client) -> None:
    path, pattern = "/v1/blessings/{peer}", "/v1/blessings/acme:prod:db"
    other = realm()
    granted = delegate(
        other.replica, other.blessing, REALM.replica.public_key, "reader", now=NOW, lifetime=HOUR
    )
    for operation, body, status in (
        ("put", {"chain": granted.to_pem()}, 200),
        ("put", {"chain": CHAIN, "more": 1}, 400),
        ("put", {"chain": other.blessing.to_pem()}, 409),
        ("put", {"chain": "a" * MOST_BODY_BYTES}, 413),
        ("get", None, 200),
        ("delete", None, 200),
        ("delete", None, 404),
    ):
        response = blessed.request(operation.upper(), pattern, json=body)
        assert response.status_code == status, response.text
        check(operation, path, response)
    check("get", path, blessed.get("/v1/blessings/a::b"))
    check("get", "/v1/blessings", blessed.get("/v1/blessings"))


def test_the_document_states_what_there_is_before_the_first_blessing(waiting: httpx.Client) -> None:
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations:
            if path == "/v1/watch":
                continue  # waits for it
            body = {"message": "YWJj"} if operation == "post" else None
            response = waiting.request(operation.upper(), re.sub(r"\{.*\}", OTHER, path), json=body)
            assert response.status_code == 503
            check(operation, path, response)


def test_the_document_has_every_route_and_no_other() -> None:
    routes = AgentProtocol(CurrentIdentity(Clock(NOW)), HeldLists(Source())).routes()
    assert set(routes) == {
        f"{operation.upper()} {re.sub(r'{.*}', '*', path)}"
        for path, operations in DOCUMENT["paths"].items()
        for operation in operations
    }
