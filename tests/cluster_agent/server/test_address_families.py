"""The program in a cluster of IPv4, of IPv6, and of both."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import httpx
import pytest

from blessings import Blessing, Principal
from blessings.tls import client_context
from cluster_agent.settings import Settings
from service.cluster_agent_calls import ClusterAgentAddress
from service.cluster_agent_client import ClusterAgentClient
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
ADDRESSES = [pytest.param("127.0.0.1", id="IPv4"), pytest.param("::1", id="IPv6")]


@pytest.fixture(scope="module")
def dual_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    """An agent that listens where it does by default."""
    host = Settings.model_fields["host"].default
    with running_cluster_agent(tmp_path_factory.mktemp("dual"), host=host, rate_per_address=0.001) as agent:
        yield agent


def url(scheme: str, address: str, port: object) -> str:
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


@pytest.mark.parametrize("address", ADDRESSES)
def test_both_families_are_served_over_tls_and_by_the_health_port(
    dual_stack: RunningClusterAgent, address: str
) -> None:
    credential = dual_stack.new_secret()["credential"]
    context = client_context(
        Principal.from_pem(credential["privateKey"].encode()),
        Blessing.from_pem(credential["certificateChain"]),
        dual_stack.server_roots,
    )
    context.check_hostname = True
    agent = ClusterAgentAddress(url("https", address, dual_stack.flags["port"]), "localhost")
    with ClusterAgentClient(agent, context) as client:
        body = {"csr": csr_of(Principal.create()), "token": pod_token(dual_stack.tokens)}
        assert "chain" in client.call("POST", "/v1/seek-blessings", body)
    health = url("http", address, dual_stack.flags["health_port"])
    assert httpx.get(f"{health}/readyz", timeout=PATIENCE_SECONDS).status_code == 200


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_client_is_counted_and_recorded_by_its_own_address(
    dual_stack: RunningClusterAgent, address: str
) -> None:
    """Not by the form ::ffff:127.0.0.1, which a socket for both families has."""
    agent = url("https", address, dual_stack.flags["port"])
    with dual_stack.client(None, None) as client:
        extensions = {"sni_hostname": "localhost"}
        answers = [client.get(f"{agent}/v1/secrets", extensions=extensions) for _ in range(2)]
    assert [one.status_code for one in answers] == [401, 429]
    assert f'"address": "{ip_address(address)}"' in dual_stack.log()
    assert "::ffff" not in dual_stack.log()
