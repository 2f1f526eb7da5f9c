"""A pod agent whose application has a DNS name, with files beside its sockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import (
    TTL_SECONDS,
    RunningPodAgent,
    mount,
    running_pod_agent,
    short_directory,
)

HOST = "web.shop.svc"


@pytest.fixture(scope="package")
def cluster_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(tmp_path_factory.mktemp("agent"), minimum_ttl_seconds=1) as agent:
        application = {"namespace": "shop", "serviceAccount": "web", "name": "acme:prod:shop:web"}
        with agent.control_plane_client() as administrator:
            answer = administrator.post("/v1/register-application", json={**application, "dnsNames": [HOST]})
        answer.raise_for_status()
        yield agent


@contextmanager
def running(agent: RunningClusterAgent, **settings: object) -> Iterator[RunningPodAgent]:
    """Blessed; its files are in `files` beside its sockets."""
    with short_directory() as directory:
        files = directory / "files"
        files.mkdir()
        mount(directory, agent)
        with running_pod_agent(
            directory, agent.url, files_directory=files, files_mode="0444", **settings
        ) as web:
            web.wait_until_blessed()
            yield web


@pytest.fixture(scope="module")
def web(cluster_agent: RunningClusterAgent) -> Iterator[RunningPodAgent]:
    with running(cluster_agent) as made:
        yield made


@pytest.fixture(scope="module")
def renewing_web(cluster_agent: RunningClusterAgent) -> Iterator[RunningPodAgent]:
    """Renewed every few seconds."""
    with running(cluster_agent, ttl_seconds=TTL_SECONDS) as made:
        yield made


@pytest.fixture(scope="module")
def files(web: RunningPodAgent) -> Path:
    return web.directory / "files"
