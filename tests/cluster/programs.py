"""What a node runs: the Kubernetes programs, containerd and CNI built from pinned Go modules; runc and the
network tools from the distribution."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cgroups import can_limit
from tests.cluster.machine import NO_PLACE
from tests.controlplane.programs import MODULE as KUBERNETES_MODULE
from tests.controlplane.programs import Programs, ProgramsUnavailableError, Say, Source, programs
from tests.owned_directory import for_overlays

KUBERNETES = Source(
    KUBERNETES_MODULE,
    {name: f"./{name}" for name in ("kubelet", "kube-proxy")},
    "about 2 minutes on 2 cores after the API server, once",
)
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
_CNI = "github.com/containernetworking/plugins/plugins"
CONTAINERS = Source(
    Path(__file__).parent / "go_module",
    {
        "containerd": f"{_CONTAINERD}/containerd",
        "containerd-shim-runc-v2": f"{_CONTAINERD}/containerd-shim-runc-v2",
        "ctr": f"{_CONTAINERD}/ctr",
        "bridge": f"{_CNI}/main/bridge",
        "loopback": f"{_CNI}/main/loopback",
        "host-local": f"{_CNI}/ipam/host-local",
        "portmap": f"{_CNI}/meta/portmap",
        "coredns": "./coredns",
    },
    "about 4 minutes on 2 cores, once",
)
# Debian's package of each program that the node takes from the distribution.
_PACKAGES = {
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
}
_SYSTEM_DIRECTORIES = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class NodePrograms:
    """Where each program of a node is."""

    kubernetes: Programs
    containers: Programs

    def __getitem__(self, name: str) -> Path:
        return self.kubernetes[name] if name in self.kubernetes.names else self.containers[name]

    @property
    def path(self) -> str:
        """The PATH for the node's programs, which find their companions (shim, runc, nft) there."""
        ours = [*self.containers.directories, *self.kubernetes.directories]
        return ":".join([*dict.fromkeys(map(str, ours)), _SYSTEM_DIRECTORIES])


def node_programs(say: Say, environment: Mapping[str, str] = os.environ) -> NodePrograms:
    """The programs of a node, built now if need be. Raises ProgramsUnavailableError with what is missing."""
    can_run_node(say, environment)
    return NodePrograms(
        programs(say, environment, KUBERNETES),
        programs(say, environment, CONTAINERS),
    )


def can_run_node(_: Say, environment: Mapping[str, str] = os.environ) -> bool:
    """True; raises ProgramsUnavailableError with all that is missing where no node can run."""
    if complaints := cannot_run_here(environment):
        raise ProgramsUnavailableError("no node can run here: " + "; ".join(complaints))
    return True


def cannot_run_here(
    environment: Mapping[str, str],
    *,
    system: str = sys.platform,
    user: int | None = None,
    system_path: str = _SYSTEM_DIRECTORIES,
) -> list[str]:
    """Why no node can run on a machine; empty when one can. `user` is ours by default."""
    if system != "linux":
        return [f"a node needs Linux, this is {system}"]
    complaints = []
    if (os.geteuid() if user is None else user) != 0:
        complaints.append("a node makes namespaces, mounts and links, which needs root")
    if for_overlays() is None:
        complaints.append(NO_PLACE)
    if not can_limit():
        complaints.append("the control groups here limit neither CPU nor memory nor processes")
    search = f"{environment.get('PATH', '')}:{system_path}"
    missing = sorted(name for name in _PACKAGES if shutil.which(name, path=search) is None)
    if missing:
        packages = sorted({_PACKAGES[name] for name in missing})
        complaints.append(f"missing {', '.join(missing)} (apt-get install {' '.join(packages)})")
    return complaints
