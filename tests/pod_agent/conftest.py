"""A cluster agent, and a pod agent that is blessed by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import TTL_SECONDS, RunningPodAgent, mount, running_pod_agent, short_directory


@pytest.fixture(scope="module")
def cluster_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    """Its identities last longer than any test, unless a pod agent asks for shorter ones."""
    with running_cluster_agent(tmp_path_factory.mktemp("agent"), minimum_ttl_seconds=1) as agent:
        yield agent


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


@pytest.fixture
def blessed(cluster_agent: RunningClusterAgent, directory: Path) -> Iterator[RunningPodAgent]:
    """Its identity does not change while a test runs."""
    mount(directory, cluster_agent)
    with running_pod_agent(directory, cluster_agent.url) as running:
        running.wait_until_blessed()
        yield running


@pytest.fixture
def renewing(cluster_agent: RunningClusterAgent, directory: Path) -> Iterator[RunningPodAgent]:
    """Its identity is renewed every few seconds. On a busy machine, it may end before."""
    mount(directory, cluster_agent)
    with running_pod_agent(directory, cluster_agent.url, ttl_seconds=TTL_SECONDS) as running:
        running.wait_until_blessed()
        yield running
