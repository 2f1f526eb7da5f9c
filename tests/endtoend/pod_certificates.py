"""A cluster agent that signs PodCertificateRequests of a test control plane, with its manifests' rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from blessings import RevocationList
from cluster_agent.pod_requests.guard import SETTLING, unchanged_since
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.installation import token_file
from tests.waiting import wait_for

_NEEDED = frozenset(
    {
        "vanadium-system",
        "cluster-agent",
        "vanadium-cluster-agent",
        "vanadium-pod-certificates",
        "vanadium-trust-bundles",
    }
)
_KINDS = frozenset(
    {
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)


def apply_manifests(control_plane: ControlPlane) -> None:
    """Applies what the cluster agent needs at the API server, as `kubectl apply -k deploy` does."""
    manifests = yaml.safe_load_all(control_plane.kubectl("kustomize", "deploy").stdout)
    wanted = [one for one in manifests if one["kind"] in _KINDS and one["metadata"]["name"] in _NEEDED]
    control_plane.kubectl.apply(*wanted)
    wait_until_judged(control_plane)


def wait_until_judged(control_plane: ControlPlane) -> None:
    """Until requests that are made now are answered: policy and binding have been there for long enough."""

    def age() -> timedelta:
        kinds = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
        found = [
            json.loads(control_plane.kubectl("get", kind, "vanadium-pod-certificates", "-o", "json").stdout)
            for kind in kinds
        ]
        return datetime.now(UTC) - max(unchanged_since(one) for one in found)

    wait_for("the policy to settle", lambda: age() >= SETTLING + timedelta(seconds=1))


def settings(control_plane: ControlPlane, directory: Path) -> dict[str, Any]:
    """The flags of an agent of this control plane."""
    return {
        "attestor": "token-review",
        "kubernetes_api_url": control_plane.url,
        "kubernetes_ca_file": control_plane.ca_certificate,
        "kubernetes_token_file": token_file(control_plane, directory),
    }


@contextmanager
def signing_agent(
    control_plane: ControlPlane, directory: Path, **changes: object
) -> Iterator[RunningClusterAgent]:
    """The running program. The control plane has no trust bundle of an earlier one."""
    control_plane.kubectl("delete", "clustertrustbundle", "-l", "app.kubernetes.io/part-of=vanadium-cluster")
    apply_manifests(control_plane)
    with running_cluster_agent(directory, **{**settings(control_plane, directory), **changes}) as agent:
        yield agent


def serial_numbers(agent: RunningClusterAgent, application: str) -> frozenset[int]:
    """Those on the application's revocation list."""
    with agent.client(None, None) as client:
        return RevocationList.from_der(client.get(f"/v1/crl/{application}").content).serials
