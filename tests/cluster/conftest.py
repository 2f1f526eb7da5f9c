"""The product on the cluster, for every test that takes `installed`."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import SYSTEM, install, uninstall


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    """The cluster with the product installed as the README says, which changes nothing when it is already."""
    install(cluster.kubectl)
    return cluster


@pytest.fixture
def empty_cluster(cluster: Cluster) -> Cluster:
    """The cluster without the product: other tests may have installed it."""
    if cluster.kubectl.exists("namespace", SYSTEM):
        uninstall(cluster.kubectl)
    return cluster
