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
from tests.cluster.programs import node_programs
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import Say, programs
from tests.kubectl import Kubectl, wait_for

# The context of KUBECONFIG that names an existing cluster to use instead of one of ours.
CONTEXT_VARIABLE = "VANADIUM_TEST_CONTEXT"


@dataclass(frozen=True)
class Cluster:
    """A running cluster. `node` is None when it is somebody else's, whose kubelet is not ours to stop."""

    kubectl: Kubectl
    node: Node | None


@contextmanager
def cluster(
    say: Say, images: Mapping[str, Path], pause: str, environment: Mapping[str, str] = os.environ
) -> Iterator[Cluster]:
    """The existing cluster that the environment names, else one of ours with these images loaded.

    An existing cluster must be able to pull the images, or have them. Raises ProgramsUnavailableError where
    no node can run.
    """
    if context := environment.get(CONTEXT_VARIABLE):
        yield Cluster(existing(context, environment), None)
        return
    network = Network()
    node_has, control_plane_has = node_programs(say, environment), programs(say, environment)
    with (
        Node(node_has, network, pause) as node,
        ControlPlane(
            control_plane_has, address=network.host, service_cidr=network.services, users=USERS
        ) as control_plane,
    ):
        for archive in images.values():
            node.load(archive)
        node.join(control_plane)
        kubectl = control_plane.kubectl
        wait_for("a ready node", lambda: _is_ready(kubectl), 60, lambda: node.log_of("kubelet")[-3000:])
        yield Cluster(kubectl, node)


def existing(context: str, environment: Mapping[str, str] = os.environ) -> Kubectl:
    """kubectl for a context of the user's own kubeconfig."""
    program = shutil.which("kubectl", path=environment.get("PATH"))
    if program is None:
        raise FileNotFoundError(f"{CONTEXT_VARIABLE} names the cluster {context}, but no kubectl is on PATH")
    kubeconfig = environment.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return Kubectl(Path(program), Path(kubeconfig), context)


def _is_ready(kubectl: Kubectl) -> bool:
    nodes = kubectl.get("nodes")["items"]
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for node in nodes
        if node["metadata"]["name"] == NAME
        for condition in node["status"].get("conditions", [])
    )
