"""The control plane's root and the certificates under it.

They are blessings: the webhook's serving certificate is also the client certificate by which the cluster
agent recognises the program that writes its secrets to Kubernetes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from blessings import Authority, Blessing, Name, Principal, Roots
from certs.schedule import ROOT_LIFETIME, SERVING_LIFETIME

ROOT_NAME = Name.parse("vanadium-control-plane")
NAMESPACE = "vanadium-system"
CERTIFICATE, KEY, ROOTS = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True)
class ControlPlaneServer:
    """A part of the control plane: its Service, and the Secret that holds its certificate."""

    service: str
    secret: str

    @property
    def name(self) -> Name:
        return ROOT_NAME.extend(self.service)

    def dns_names(self, namespace: str = NAMESPACE) -> tuple[str, ...]:
        """Every name that the Service has within the cluster."""
        return (
            f"{self.service}.{namespace}.svc",
            f"{self.service}.{namespace}.svc.cluster.local",
            f"{self.service}.{namespace}",
            self.service,
        )


WEBHOOK = ControlPlaneServer(service="webhook", secret="webhook-serving")  # noqa: S106 - the name of a Secret
CLUSTER_AGENT = ControlPlaneServer(service="cluster-agent", secret="cluster-agent-serving")  # noqa: S106


@dataclass(frozen=True)
class Material:
    """A certificate with its key, and the roots to publish together with it."""

    principal: Principal
    blessing: Blessing
    roots: Roots

    @property
    def chain_pem(self) -> str:
        return self.blessing.to_pem()

    @property
    def key_pem(self) -> str:
        return self.principal.to_pem().decode()

    def files(self) -> dict[str, str]:
        """The files of a kubernetes.io/tls Secret."""
        return {CERTIFICATE: self.chain_pem, KEY: self.key_pem, ROOTS: self.roots.to_pem()}

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> Material:
        """The inverse of `files`. Raises BlessingsError or KeyError for files that are not usable."""
        return cls(
            Principal.from_pem(files[KEY].encode()),
            Blessing.from_pem(files[CERTIFICATE]),
            Roots.from_pem(files[ROOTS]),
        )


def new_root(now: datetime) -> Authority:
    """A root of the control plane."""
    return Authority.create_root(ROOT_NAME, Principal.create(), now=now, lifetime=ROOT_LIFETIME)


def serving_material(
    authority: Authority, server: ControlPlaneServer, roots: Roots, now: datetime, namespace: str = NAMESPACE
) -> Material:
    """A serving certificate with a new key."""
    principal = Principal.create()
    blessing = authority.bless(
        principal.public_key,
        server.service,
        now=now,
        lifetime=SERVING_LIFETIME,
        dns_names=server.dns_names(namespace),
    )
    return Material(principal, blessing, roots)
