"""One control plane: started in order, ready when the API server says so, stopped without leftovers."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests import owned_directory
from tests.cluster_agents import free_port
from tests.controlplane.pki import write_pki
from tests.controlplane.programs import Programs
from tests.kubectl import Kubectl
from tests.owned_directory import OwnedDirectory, in_memory
from tests.processes import die_with_parent
from tests.waiting import CLUSTER_PATIENCE_SECONDS

_PREFIX = "vanadium-controlplane-"
LOOPBACK = "127.0.0.1"
# Its own programs, by user and group.
_CONTROLLERS = {"system:kube-controller-manager": "system:masters", "system:kube-scheduler": "system:masters"}
SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc.cluster.local"

_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    nonResourceURLs: ["/healthz*", "/readyz*", "/livez*", "/version"]
  - level: Metadata
"""


class ControlPlaneError(Exception):
    """A program did not start, or ended; the message has the end of its log."""


class ControlPlane:
    """A running control plane, as a context manager.

    It listens on `address`, which nodes must be able to reach; loopback serves a control plane without nodes.
    `users` are further users and their group, whose kubeconfigs `kubeconfig_of` gives.

    Attributes:
        url: the API server's address.
        kubeconfig: a file for the administrator, in group system:masters.
        ca_certificate: file with the authority of the API server's certificate.
        audit_log: file with a JSON line for each request that it answered.
    """

    def __init__(
        self,
        programs: Programs,
        *,
        address: str = LOOPBACK,
        service_cidr: str = "10.96.0.0/16",
        users: Mapping[str, str] | None = None,
    ) -> None:
        self._programs = programs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._address = address
        self._service_cidr = service_cidr
        self._users = {**_CONTROLLERS, **(users or {})}
        self._tokens = {user: secrets.token_hex(16) for user in self._users}
        self.admin_token = secrets.token_hex(16)

    def __enter__(self) -> Self:
        clean()
        self._owned = OwnedDirectory(_PREFIX, in_memory())
        self.directory = self._owned.path
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(self._programs["kubectl"], self.kubeconfig)

    def kubeconfig_for(self, token: str, name: str) -> Path:
        """A kubeconfig file for a client with `token`."""
        path = self.directory / f"{name}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.ca_certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path

    def kubeconfig_of(self, user: str) -> Path:
        """The kubeconfig file of one of `users`, or of a controller."""
        return self.kubeconfig_for(self._tokens[user], user.replace(":", "-"))

    def stop(self) -> None:
        """Kills the programs, and removes every file. Nobody reads what they would write at an orderly end,
        which takes an API server with clients half a minute."""
        for process in reversed(self._processes.values()):
            process.kill()
            process.wait()
        self._processes.clear()
        self._owned.remove()

    def log_of(self, program: str) -> str:
        return (self.directory / f"{program}.log").read_text(errors="replace")

    def _start(self) -> None:
        write_pki(self.directory, self._address, _first_address(self._service_cidr))
        client_port, peer_port, api_port = free_port(), free_port(), free_port()
        self.url = f"https://{self._address}:{api_port}"
        self.ca_certificate = self.directory / "ca.crt"
        self.audit_log = self.directory / "audit.log"
        (self.directory / "audit-policy.yaml").write_text(_AUDIT_POLICY)
        tokens = [f'{self.admin_token},admin,admin,"system:masters"']
        tokens += [f'{self._tokens[user]},{user},{user},"{group}"' for user, group in self._users.items()]
        (self.directory / "tokens.csv").write_text("\n".join(tokens) + "\n")
        self.kubeconfig = self.kubeconfig_for(self.admin_token, "admin")

        self._run("etcd", *self._etcd_flags(client_port, peer_port))
        self._run("kube-apiserver", *self._apiserver_flags(client_port, api_port))
        self._wait_until_ready()
        for name in ("kube-controller-manager", "kube-scheduler"):
            kubeconfig = self.kubeconfig_of(f"system:{name}")
            flags = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]
            if name == "kube-controller-manager":
                flags += [
                    f"--service-account-private-key-file={self.directory}/service-account.key",
                    f"--root-ca-file={self.ca_certificate}",
                    "--use-service-account-credentials=true",
                    # By default it makes twenty Pods a second.
                    "--kube-api-qps=300",
                    "--kube-api-burst=600",
                ]
            self._run(name, *flags)

    def _etcd_flags(self, client_port: int, peer_port: int) -> list[str]:
        client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
        return [
            f"--data-dir={self.directory}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # what a test control plane stores need not survive a power cut
        ]

    def _apiserver_flags(self, client_port: int, api_port: int) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{client_port}",
            f"--bind-address={self._address}",
            f"--advertise-address={self._address}",
            # Loopback is no address for a Service.
            f"--endpoint-reconciler-type={'none' if self._address == LOOPBACK else 'lease'}",
            f"--secure-port={api_port}",
            f"--tls-cert-file={self.directory}/apiserver.crt",
            f"--tls-private-key-file={self.directory}/apiserver.key",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={self.directory}/tokens.csv",
            f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
            f"--service-account-key-file={self.directory}/service-account.pub",
            f"--service-account-signing-key-file={self.directory}/service-account.key",
            f"--service-cluster-ip-range={self._service_cidr}",
            "--enable-admission-plugins=NodeRestriction",
            # For logs and exec, which it asks of the kubelet.
            f"--kubelet-client-certificate={self.directory}/kubelet-client.crt",
            f"--kubelet-client-key={self.directory}/kubelet-client.key",
            f"--kubelet-certificate-authority={self.ca_certificate}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={self.directory}/audit-policy.yaml",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-mode=blocking-strict",
        ]

    def _run(self, name: str, *flags: str) -> None:
        log = (self.directory / f"{name}.log").open("wb")
        with log:
            self._processes[name] = subprocess.Popen(
                [self._programs[name], *flags],
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
                cwd=self.directory,
            )

    def http_client(self) -> httpx.Client:
        """A client of the API server, as an administrator; a context manager."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.admin_token}"},
            verify=ssl.create_default_context(cafile=str(self.ca_certificate)),
            timeout=60,
        )

    def _wait_until_ready(self) -> None:
        trust = ssl.create_default_context(cafile=str(self.ca_certificate))
        request = urllib.request.Request(  # noqa: S310 - our own https address
            f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.admin_token}"}
        )
        deadline = time.monotonic() + CLUSTER_PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise ControlPlaneError(self._complaint(f"{name} ended with {process.returncode}", name))
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(request, context=trust, timeout=10),  # noqa: S310
            ):
                return
            time.sleep(0.1)
        problem = f"not ready after {CLUSTER_PATIENCE_SECONDS} s"
        raise ControlPlaneError(self._complaint(problem, "kube-apiserver"))

    def _complaint(self, what: str, program: str) -> str:
        tail = "\n".join(self.log_of(program).splitlines()[-20:])
        return f"{what}; the end of its log:\n{tail}"


def clean() -> None:
    """Removes the directories of control planes that were killed."""
    owned_directory.clean(_PREFIX)


def _first_address(cidr: str) -> str:
    """The address of the Service `kubernetes`."""
    return str(next(ipaddress.ip_network(cidr).hosts()))
