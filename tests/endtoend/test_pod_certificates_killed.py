"""Requests survive the agents that work on them: one that is killed, and two on one PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blessings import Blessing
from tests.cluster_agent.kills.killed import kill
from tests.cluster_agents import RunningClusterAgent, another_replica
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.pod_certificates import signing_agent
from tests.kubelets import Kubelets
from tests.postgresql import running_postgresql
from tests.waiting import wait_for

NODE, NAMESPACE = "killed-node", "killed"


@pytest.fixture(scope="module")
def kubelets(control_plane: ControlPlane) -> Iterator[Kubelets]:
    with Kubelets(control_plane) as one:
        one.node(NODE)
        one.namespace(NAMESPACE)
        yield one
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    control_plane.kubectl("delete", "node", NODE)


def log_of(*agents: RunningClusterAgent) -> str:
    return "\n".join(agent.log() for agent in agents)


def test_two_agents_answer_each_request_once_also_when_one_is_killed(
    control_plane: ControlPlane, kubelets: Kubelets, tmp_path: Path
) -> None:
    with (
        running_postgresql() as server,
        signing_agent(control_plane, tmp_path, database_url=server.new_database()) as first,
    ):
        (tmp_path / "second").mkdir()
        with another_replica(first, tmp_path / "second") as second:
            pods = [kubelets.pod(NAMESPACE, f"web-{number}", node=NODE) for number in range(30)]
            asked = [kubelets.asked(pod) for pod in pods[:15]]
            kill(second)
            asked += [kubelets.asked(pod) for pod in pods[15:]]
            chains = [Blessing.from_pem(kubelets.answered(request)["certificateChain"]) for request in asked]
        names = [str(chain.presented) for chain in chains]
        assert names == [f"acme:prod:{NAMESPACE}:default:web-{number}" for number in range(30)]
        with first.control_plane_client() as administrator:
            answer = administrator.get("/v1/audit", params={"act": "blessing-issued", "limit": "100"})
        written = [one["record"] for one in answer.raise_for_status().json()["records"]]
        # Beside those of other tests' requests, which the API server may still have.
        records = [one for one in written if one["name"] in names]
        # One certificate for each request, whichever agent made it.
        assert len({one["podCertificateRequest"] for one in records}) == len(records) == 30

        kill(first)
        late = [kubelets.asked(kubelets.pod(NAMESPACE, f"late-{number}", node=NODE)) for number in range(3)]
        with another_replica(first, tmp_path / "second"):
            wait_for("answers", lambda: all(kubelets.condition(request) for request in late))
        for request in late:
            assert "certificateChain" in kubelets.answered(request)
