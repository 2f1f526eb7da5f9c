"""Plans carried out against a real cluster agent. The Secrets are in memory, as in local mode; the tests in
tests/endtoend have a real API server's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from blessings import Blessing, Principal, RevocationList
from certs import Stored, VersionConflict
from pod_agent.credential import parse_credential
from service.cluster_agent_calls import ClusterAgentAddress, mutual_tls
from service.cluster_agent_client import ClusterAgentClient
from service.errors import CallError
from tests.cluster_agents import SERVER_NAME, RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.webhook.reconciler.cluster_agent_double import ROOTS
from webhook.reconciler.agent_secrets import MOST_PAGES, MOST_PAGES_OF_ALL, AgentSecrets
from webhook.reconciler.memory_secrets import MemorySecrets
from webhook.reconciler.reconcile import Turn, reconcile


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture
def agent(running: RunningClusterAgent) -> Iterator[AgentSecrets]:
    with client_of(running, "webhook") as client:
        for namespace in client.namespaces():
            for secret in client.secrets(namespace).secrets:
                client.forget_secret(secret.id, revoke=True)
        yield client


def client_of(running: RunningClusterAgent, extension: str, server_name: str = SERVER_NAME) -> AgentSecrets:
    principal = Principal.create()
    blessing = running.control_plane.bless(
        principal.public_key, extension, now=datetime.now(UTC), lifetime=timedelta(days=1)
    )
    context = mutual_tls(principal, blessing, running.server_roots)
    address = ClusterAgentAddress(running.url, server_name)
    return AgentSecrets(ClusterAgentClient(address, context), running.server_roots)


def stored(store: MemorySecrets, account: str = "web") -> dict[str, str]:
    """The stored credential, as the cluster agent made it."""
    data = store.secrets["shop"]
    credential = parse_credential(data[account], lambda: data["_roots.pem"])
    return {
        "privateKey": credential.principal.to_pem().decode(),
        "certificateChain": credential.blessing.to_pem(),
        "clusterAgentRoots": credential.cluster_agent_roots.to_pem(),
    }


def look(agent: AgentSecrets, store: MemorySecrets, accounts: set[str] | None) -> Turn:
    return reconcile("shop", accounts, agent=agent, store=store, now=datetime.now(UTC))


def test_the_stored_credential_gives_a_pod_its_name(
    running: RunningClusterAgent, agent: AgentSecrets
) -> None:
    store = MemorySecrets()
    assert look(agent, store, {"web"}) == Turn(made=1, wrote=True)
    assert look(agent, store, {"web"}) == Turn()
    with running.credential_client(stored(store)) as pod:
        body = {"csr": csr_of(Principal.create()), "token": pod_token(running.tokens)}
        assert pod.post("/v1/seek-blessings", json=body).status_code == 200


def test_a_namespace_without_its_label_has_nothing_left(agent: AgentSecrets) -> None:
    store = MemorySecrets()
    look(agent, store, {"web", "default"})
    look(agent, store, None)
    assert store.secrets == {}
    assert agent.secrets("shop").secrets == []


@pytest.mark.parametrize("accounts", [None, {"other"}])
def test_what_was_issued_is_revoked_with_its_namespace_or_account(
    running: RunningClusterAgent, agent: AgentSecrets, accounts: set[str] | None
) -> None:
    store = MemorySecrets()
    look(agent, store, {"web"})
    with running.credential_client(stored(store)) as pod:
        body = {"csr": csr_of(Principal.create()), "token": pod_token(running.tokens)}
        chain = Blessing.from_pem(pod.post("/v1/seek-blessings", json=body).json()["chain"])
    look(agent, store, accounts)
    with running.client(None, None) as anybody:
        der = anybody.get("/v1/crl/acme:prod:shop:web").content
    assert chain.leaf.serial_number in RevocationList.from_der(der).serials


def test_a_secret_that_the_cluster_agent_does_not_know_is_forgotten(agent: AgentSecrets) -> None:
    """Another replica of the webhook was first at a cluster agent whose store was emptied."""
    for revoke in (False, True):
        agent.forget_secret("unknown", revoke=revoke)


def test_the_loser_of_a_race_leaves_no_secret_behind(agent: AgentSecrets) -> None:
    class RacedSecrets(MemorySecrets):
        """Another replica writes between our read and our write."""

        def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
            self.secrets[namespace] = {"web": "the other's"}
            super().write(namespace, data, over)

    store = RacedSecrets()
    with pytest.raises(VersionConflict):
        look(agent, store, {"web"})
    assert store.secrets == {"shop": {"web": "the other's"}}
    assert agent.secrets("shop").secrets == []


def test_a_secret_that_cannot_be_written_leaves_no_secret_behind(agent: AgentSecrets) -> None:
    class FullSecrets(MemorySecrets):
        """A quota is used up, say."""

        def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
            raise OSError("quota exceeded")

    with pytest.raises(OSError, match="quota"):
        look(agent, FullSecrets(), {"web", "default"})
    assert agent.secrets("shop").secrets == []


def test_the_stored_credential_trusts_the_roots_of_now(agent: AgentSecrets) -> None:
    store = MemorySecrets()
    look(agent, store, {"web"})
    first = dict(store.secrets["shop"])
    store.secrets["shop"]["_roots.pem"] = "those of last year"
    assert look(agent, store, {"web"}) == Turn(wrote=True)
    assert store.secrets["shop"] == first


def test_pages_are_put_together_and_the_rest_of_a_namespace_is_passed_over(
    agent: AgentSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhook.reconciler.agent_secrets.PAGE", 2)
    made = {agent.new_secret("flood", f"account-{number}").id for number in range(5)}
    agent.new_secret("shop", "web")
    assert {one.id for one in agent.secrets("flood").secrets} == made
    assert len(agent.secrets("shop").secrets) == 1
    assert agent.namespaces() == {"flood", "shop"}


@pytest.mark.parametrize("secrets", [[], [{"namespace": "shop"}]])
def test_attack_pages_without_end_are_given_up(secrets: list[dict[str, str]]) -> None:
    class Endless:
        asked = 0

        def call(self, _method: str, _path: str, _body: object = None) -> dict[str, object]:
            self.asked += 1
            return {"secrets": secrets, "following": "shop/0"}

    endless = Endless()
    agent = AgentSecrets(cast(ClusterAgentClient, endless), ROOTS)
    assert agent.namespaces() == {one["namespace"] for one in secrets}
    assert endless.asked == MOST_PAGES_OF_ALL
    assert not agent.secrets("elsewhere").complete
    assert endless.asked == MOST_PAGES_OF_ALL + MOST_PAGES


def test_a_refusal_says_why(running: RunningClusterAgent) -> None:
    with client_of(running, "somebody") as stranger, pytest.raises(CallError) as caught:
        stranger.secrets("shop")
    assert caught.value.reason == "NotAnAdministrator"


def test_an_agent_under_another_name_is_not_talked_to(running: RunningClusterAgent) -> None:
    with (
        client_of(running, "webhook", "somebody.else.svc") as client,
        pytest.raises(CallError, match="Hostname mismatch"),
    ):
        client.secrets("shop")
