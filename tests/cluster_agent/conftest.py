"""One running cluster agent for the tests that only ask it things."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster_agents import RunningClusterAgent, running_cluster_agent


@pytest.fixture(scope="package")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(tmp_path_factory.mktemp("agent")) as running:
        yield running
