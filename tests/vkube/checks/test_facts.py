"""What `vkube check` reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

from vkube.checks.facts import read_facts
from vkube.connection.cluster import Cluster, Object

NODE = {
    "metadata": {"name": "n1"},
    "status": {"nodeInfo": {"kubeletVersion": "v1.37.2", "operatingSystem": "linux"}},
}


class Empty:
    """A cluster with a node and nothing else."""

    system = "vanadium-system"

    def __init__(self) -> None:
        self.listed: list[str] = []

    def get(self, _: str) -> Object:
        return {}

    def find(self, _: str) -> Object | None:
        return None

    def create(self, *_: object) -> Object:
        return {"status": {"allowed": True}}

    def items(self, path: str, **_: object) -> Iterator[Object]:
        self.listed.append(path)
        return iter([NODE] if path == "/api/v1/nodes" else [])


def test_nodes_which_can_be_many_are_listed_once() -> None:
    cluster = Empty()
    facts = read_facts(cast(Cluster, cluster), datetime(2026, 11, 28, tzinfo=UTC))
    assert facts.nodes == [NODE]
    assert cluster.listed.count("/api/v1/nodes") == 1
