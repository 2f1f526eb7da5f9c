"""How a node is joined to this machine: which addresses, and which commands make it so.

The control plane runs on this machine and listens on the host's end of the link; routes lead from here to the
node's Pods and Services, so that the API server reaches webhooks and tests reach Pods. The host's end goes
with the node's network namespace, and the routes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_NODE_LINK = "eth0"


@dataclass(frozen=True)
class Network:
    """The link and addresses of one node. Only one node of a network runs at a time: it has the link."""

    link: str = "vanadium0"
    host: str = "10.213.0.1"
    node: str = "10.213.0.2"
    pods: str = "10.213.64.0/22"
    services: str = "10.213.128.0/20"

    def host_steps(self, init: int) -> list[Sequence[str]]:
        """What to run on this machine, for the node whose first process is `init`."""
        return [
            ("ip", "link", "add", self.link, "type", "veth", "peer", "name", _NODE_LINK, "netns", str(init)),
            ("ip", "address", "add", f"{self.host}/30", "dev", self.link),
            ("ip", "link", "set", self.link, "up"),
            ("ip", "route", "add", self.pods, "via", self.node),
            ("ip", "route", "add", self.services, "via", self.node),
        ]

    def node_steps(self) -> list[Sequence[str]]:
        """What to run inside of the node's namespaces."""
        return [
            ("hostname", "node"),
            ("ip", "link", "set", "lo", "up"),
            ("ip", "address", "add", f"{self.node}/30", "dev", _NODE_LINK),
            ("ip", "link", "set", _NODE_LINK, "up"),
            ("ip", "route", "add", "default", "via", self.host),
            # Enough for a proxy; the kubelet sets what else it wants of the kernel.
            ("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"),
        ]

    def cni(self) -> dict[str, object]:
        """The configuration of the CNI plugins: https://www.cni.dev/plugins/current/main/bridge/"""
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": self.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}
