"""A cluster for these tests, and the product on it for every test that takes `installed`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, Parts, running_cluster
from tests.cluster.installation import SYSTEM, administer, install, uninstall
from tests.conftest import what_was_found
from tests.kubectl import Kubectl
from tests.waiting import wait_for


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that begin without the product come first: for all others it is then installed once."""
    items.sort(key=lambda item: "empty_cluster" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="package")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster with a node, shared by these tests: a real kubelet runs its Pods."""
    parts: Parts | Kubectl = what_was_found(request, "cluster")
    with running_cluster(parts) as running:
        yield running


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    """The cluster with the product installed as the README says, which changes nothing when it is already."""
    install(cluster.kubectl)
    return cluster


@pytest.fixture(autouse=True)
def _no_credentials_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """What vkube finds in a test is what the test gives it."""
    monkeypatch.delenv("V23_CREDENTIALS", raising=False)


@pytest.fixture(scope="package")
def flags(cluster: Cluster) -> list[str]:
    """What leads vkube to the cluster."""
    kubectl = cluster.kubectl
    kubeconfig = ["--kubeconfig", str(kubectl.kubeconfig)] if kubectl.kubeconfig else []
    return [*kubeconfig, *(["--context", kubectl.context] if kubectl.context else [])]


@pytest.fixture(scope="module")
def administering(installed: Cluster, flags: list[str]) -> list[str]:
    """The same, where the cluster agent lets the control plane's administrator administer."""
    administer(installed.kubectl)
    return flags


@pytest.fixture
def empty_cluster(cluster: Cluster) -> Cluster:
    """The cluster without the product: other tests may have installed it."""
    if cluster.kubectl.exists("namespace", SYSTEM):
        uninstall(cluster.kubectl)
    wait_for("whole namespaces", lambda: _namespaces_are_whole(cluster.kubectl))
    return cluster


def _namespaces_are_whole(kubectl: Kubectl) -> bool:
    """Whether controllers have made what they make in each namespace, and none is still being deleted: the
    cluster may just have begun, and other tests do not wait for the end of theirs."""

    def named(kind: str, name: str) -> list[str]:
        return kubectl(
            "get", kind, "-A", f"--field-selector=metadata.name={name}", "-o", "name"
        ).stdout.split()

    namespaces = kubectl.get("namespaces")["items"]
    count = len(namespaces)
    if any(one["status"]["phase"] != "Active" for one in namespaces):
        return False
    return len(named("configmaps", "kube-root-ca.crt")) == len(named("serviceaccounts", "default")) == count
