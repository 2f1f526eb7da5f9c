"""A node of a control plane: containerd, kubelet, kube-proxy and CoreDNS, each a real one, in a machine."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cluster.machine import Machine
from tests.cluster.network import Network
from tests.cluster.programs import NodePrograms
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.pki import issue
from tests.waiting import wait_for

NAME = "node"
KUBELET_USER, PROXY_USER, DNS_USER = f"system:node:{NAME}", "system:kube-proxy", "vanadium:coredns"
# Users that a control plane must know for its node, and their groups.
USERS = {KUBELET_USER: "system:nodes", PROXY_USER: "system:node-proxiers", DNS_USER: "vanadium:dns"}
_CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


# Each installation uses one up: what becomes of a volume is not for its claim to say.
_VOLUMES = 32


class NodeError(Exception):
    """A program ended or did not become ready; the message has the end of its log."""


class Node:
    """A node, as a context manager: containerd runs at once, the rest after `join`.

    Its programs are those of `SERVICES`, in the order in which they start; `stop` and `start` are what an
    administrator's `systemctl` does, and leave containers running.
    """

    SERVICES = ("containerd", "coredns", "kube-proxy", "kubelet")

    def __init__(self, programs: NodePrograms, network: Network, pause: str) -> None:
        self._programs = programs
        self._network = network
        self._pause = pause
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.machine = Machine(self._network, path=self._programs.path)
        self.machine.__enter__()
        try:
            self._etc = self.machine.directory / "settings"
            (self._etc / "cni").mkdir(parents=True)
            (self._etc / "cni" / "pods.conflist").write_text(json.dumps(self._network.cni()))
            (self._etc / "containerd.toml").write_text(self._containerd_configuration())
            self.start("containerd")
        except BaseException:
            self.machine.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.stop()

    def join(self, control_plane: ControlPlane) -> None:
        """Becomes a node of a control plane that listens on `network.host` and knows `USERS`."""
        self.control_plane = control_plane
        control_plane.kubectl.apply(*_dns_rights(), *self._volumes())
        pki = control_plane.directory
        issue(pki, "kubelet", KUBELET_USER, [NAME, self._network.node])
        files = {
            "kubelet.json": json.dumps(self._kubelet_configuration(pki)),
            "kube-proxy.json": json.dumps(self._proxy_configuration()),
            "Corefile": self._corefile(),
            "resolv.conf": "",  # Pods resolve the cluster's names alone
        }
        for name, content in files.items():
            (self._etc / name).write_text(content)
        self.start(*self.SERVICES[1:])

    def start(self, *services: str) -> None:
        """Starts the named programs, containerd until it serves: a kubelet ends where it does not yet."""
        for service in services:
            booted = self._booted()
            with self._log(service).open("ab") as log:
                self._processes[service] = self.machine.start(log, *self._command(service))
            if service == "containerd":
                wait_for(
                    "containerd", partial(self._has_booted_since, booted), story=partial(self._tail, service)
                )

    def stop(self, *services: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the named programs, and waits for their ends. Containers go on, as on any node."""
        for service in services:
            self.machine.end(self._processes.pop(service), how)

    def load(self, archive: Path) -> None:
        """Imports the images of an OCI archive, as a pull would have brought them."""
        self.machine.run("ctr", "--namespace=k8s.io", "images", "import", archive)

    def log_of(self, service: str) -> str:
        return self._log(service).read_text(errors="replace")

    def container_cgroup(self, hierarchy: str, container_id: str) -> Path:
        """The control group of a container in a hierarchy of cgroup v1, or the one of v2."""
        roots = [Path("/sys/fs/cgroup") / hierarchy, Path("/sys/fs/cgroup")]
        root = next(one / self.machine.cgroup for one in roots if (one / self.machine.cgroup).exists())
        return next(root.rglob(f"*{container_id}*"))

    def _booted(self) -> int:
        """How often containerd has said that it is there, all of its plugins included."""
        log = self._log("containerd")
        return log.read_text(errors="replace").count("successfully booted") if log.exists() else 0

    def _has_booted_since(self, count: int) -> bool:
        ended = self._processes["containerd"].poll()
        if ended is not None:
            raise NodeError(f"containerd ended with {ended}; the end of its log:\n{self._tail('containerd')}")
        return self._booted() > count

    def _log(self, service: str) -> Path:
        return self.machine.directory / f"{service}.log"

    def _tail(self, service: str) -> str:
        return "\n".join(self.log_of(service).splitlines()[-20:])

    def _command(self, service: str) -> Sequence[str | Path]:
        program = self._programs[service]
        match service:
            case "containerd":
                return [program, f"--config={self._etc}/containerd.toml"]
            case "coredns":
                return [program, f"-conf={self._etc}/Corefile"]
            case "kube-proxy":
                return [program, f"--config={self._etc}/kube-proxy.json"]
        return [
            program,
            f"--config={self._etc}/kubelet.json",
            f"--kubeconfig={self.control_plane.kubeconfig_of(KUBELET_USER)}",
            f"--hostname-override={NAME}",
            f"--node-ip={self._network.node}",
        ]

    def _volumes(self) -> list[dict[str, Any]]:
        """What a cluster's storage provisioner would make on demand: a few volumes, each a directory.

        Anybody may write to them: the kubelet gives a hostPath to no group (fsGroup).
        """
        volumes = []
        for number in range(_VOLUMES):
            directory = self.machine.directory / f"volume-{number}"
            directory.mkdir()
            directory.chmod(0o777)
            spec = {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": str(directory), "type": "Directory"},
            }
            metadata = {"name": directory.name}
            volumes.append(
                {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}
            )
        return volumes

    def _containerd_configuration(self) -> str:
        (plugins,) = {str(self._programs[name].parent) for name in ("bridge", "host-local", "loopback")}
        return f"""\
version = 3
[grpc]
  address = "{_CONTAINERD_SOCKET}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{self._pause}"
[plugins.'io.containerd.cri.v1.runtime']
  # Root without CAP_SYS_RESOURCE, as within some virtual machines, may not lower it.
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{plugins}"]
  conf_dir = "{self._etc}/cni"
"""

    def _kubelet_configuration(self, pki: Path) -> dict[str, Any]:
        """https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/"""
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(pki / "kubelet.key"),
            "containerRuntimeEndpoint": f"unix://{_CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.machine.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [self._network.node],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{self._etc}/resolv.conf",
            "maxPods": 250,
            "volumePluginDir": str(self.machine.directory / "volume-plugins"),
            # The machine's disk is not the node's to judge.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
        }

    def _proxy_configuration(self) -> dict[str, Any]:
        """https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/"""
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": NAME,
            "clusterCIDR": self._network.pods,
            "clientConnection": {"kubeconfig": str(self.control_plane.kubeconfig_of(PROXY_USER))},
            # The kernel's limits belong to the machine.
            "conntrack": {"maxPerCore": 0, "min": 0},
        }

    def _corefile(self) -> str:
        kubeconfig = self.control_plane.kubeconfig_of(DNS_USER)
        return f"""\
.:53 {{
    errors
    kubernetes cluster.local {{
        kubeconfig {kubeconfig} test
    }}
    cache 5
}}
"""


def _dns_rights() -> list[dict[str, Any]]:
    """What CoreDNS may read: https://github.com/coredns/deployment/blob/master/kubernetes/coredns.yaml.sed"""
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": DNS_USER}
    look = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["services", "namespaces", "pods"], "verbs": look},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": look},
    ]
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": DNS_USER},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": DNS_USER}],
        },
    ]
