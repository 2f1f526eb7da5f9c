"""A cluster for the tests: a control plane with a node of ours, or an existing one given by name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.network import Network
from tests.cluster.node import NAME, USERS, Node
from tests.cluster.programs import NodePrograms, node_programs
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import Programs, ProgramsUnavailableError, Say, programs
from tests.images.images import PAUSE, images
from tests.kubectl import Kubectl
from tests.waiting import CLUSTER_PATIENCE_SECONDS, wait_for

# What the tests on a cluster make and delete.
TAKEN_NAMESPACES = {
    "vanadium-system", "shop", "workloads", "on-the-node", "resilience", "enforce-off", "enforce-warn",
    "enforce-deny", "short-lived", "unlabelled", "upgraded", "ordered", "identity", "moved", "by-volume",
}  # fmt: skip
# The context of KUBECONFIG that names an existing cluster to use instead of one of ours.
CONTEXT_VARIABLE = "VANADIUM_TEST_CONTEXT"


@dataclass(frozen=True)
class Parts:
    """What a cluster of ours is made of."""

    control_plane: Programs
    node: NodePrograms
    images: Mapping[str, Path]


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `node` is None when it is somebody else's, whose kubelet is not ours to stop."""

    kubectl: Kubectl
    node: Node | None


def cluster_parts(say: Say, environment: Mapping[str, str] = os.environ) -> Parts | Kubectl:
    """What is needed to have a cluster: kubectl for the existing one that the environment names, else all the
    parts of one, built now if need be.

    Raises ProgramsUnavailableError, ImagesUnavailableError where there can be none.
    """
    if context := environment.get(CONTEXT_VARIABLE):
        return _existing(context, environment)
    node = node_programs(say, environment)
    return Parts(programs(say, environment), node, images(say, environment))


@contextmanager
def running_cluster(parts: Parts | Kubectl) -> Iterator[Cluster]:
    """A cluster of ours with the images loaded, from start to end; or the existing one, which must be able to
    pull the images, or have them."""
    if isinstance(parts, Kubectl):
        yield Cluster(parts, None)
        return
    network = Network()
    with (
        Node(parts.node, network, PAUSE) as node,
        ControlPlane(
            parts.control_plane, address=network.host, service_cidr=network.services, users=USERS
        ) as control_plane,
    ):
        for archive in parts.images.values():
            node.load(archive)
        node.join(control_plane)
        kubectl = control_plane.kubectl
        wait_for(
            "a ready node",
            lambda: _is_ready(kubectl),
            CLUSTER_PATIENCE_SECONDS,
            lambda: node.log_of("kubelet")[-3000:],
        )
        yield Cluster(kubectl, node)


def _existing(context: str, environment: Mapping[str, str]) -> Kubectl:
    """kubectl for a context of the user's kubeconfig; refused where tests would take away what is theirs."""
    program = shutil.which("kubectl", path=environment.get("PATH"))
    if program is None:
        raise ProgramsUnavailableError(
            f"{CONTEXT_VARIABLE} names the cluster {context}, but no kubectl is on PATH"
        )
    kubectl = Kubectl(Path(program), None, context)
    listed = kubectl("get", "namespaces", "-o", "name", check=False)
    if listed.returncode != 0:
        raise ProgramsUnavailableError(f"the cluster {context} cannot be asked: {listed.stderr.strip()}")
    theirs = {line.removeprefix("namespace/") for line in listed.stdout.split()} & TAKEN_NAMESPACES
    if theirs:
        raise ProgramsUnavailableError(
            f"the tests install and remove the product and whole namespaces, and the cluster {context} has "
            f"{', '.join(sorted(theirs))} already: use one that has not, or delete them"
        )
    return kubectl


def _is_ready(kubectl: Kubectl) -> bool:
    nodes = kubectl.get("nodes")["items"]
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for node in nodes
        if node["metadata"]["name"] == NAME
        for condition in node["status"].get("conditions", [])
    )
