"""Rotations of the control plane's root and of the webhook's certificate, while Pods are created.

    python -m tests.deploy.rotations --rotations 50

Two webhooks, the real program, run beside a real API server, which reaches them in turn. They look each 0.3
s, in place of 30, for what is due. A rotation is what a year brings, with the same order of writes: a
successor of the root is published; later it signs; each replica serves a certificate under it; the old root
ends. Meanwhile Pods are created without a pause, and each has to be injected; and by the `caBundle` of a
moment ago, handshakes with each replica have to succeed.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blessings import Roots
from certs import WEBHOOK
from certs.api_server import BoundedApiClient
from certs.issue import new_root
from certs.kubernetes_store import KubernetesStore
from certs.roots import ControlPlaneRoots
from certs.rotation import ROOT_SECRET
from tests.checkout import CHECKOUT
from tests.cluster_agents import free_port
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import programs
from tests.endtoend.installation import SYSTEM, lead_to_loopback, token_of
from tests.waiting import wait_for
from webhook.kubernetes_clients import connect

NAMESPACE = "rotations"
_CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/vanadium-webhook"
_CREATORS = 2
# A client verifies by a caBundle that it read before this. In a cluster a successor is published for a week.
_BEHIND_SECONDS = 0.5
# For the API server, which follows the caBundle a moment behind.
_OVERLAP_SECONDS = 2.0
_SOONER = (
    "import webhook.certificate_keeper as keeper; keeper._EVERY_SECONDS = 0.3; "
    "from webhook.__main__ import main; main()"
)
_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "web-"},
    "spec": {"containers": [{"name": "web", "image": "none"}]},
}


@dataclass
class Counts:
    """What was tried, and what failed."""

    rotations: int = 0
    pods: int = 0
    handshakes: int = 0
    failures: list[str] = field(default_factory=list)


class Rotating:
    """Two webhooks beside an API server, which calls them in turn."""

    def __init__(self, control_plane: ControlPlane, directory: Path) -> None:
        self.counts = Counts()
        self._control_plane = control_plane
        self._directory = directory
        self._ports = (free_port(), free_port())
        self._ended = threading.Event()
        # What the client verifies by, which is as old as it was slow to read it anew.
        self._known = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        kubectl = self._control_plane.kubectl
        kubectl("apply", "-k", "deploy")
        kubectl("scale", "deployment", "--all", "--replicas=0", "-n", SYSTEM)
        namespace = {"name": NAMESPACE, "labels": {"vanadium.io/inject": "enabled"}}
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
        account = ("serviceaccount", "default", "-n", NAMESPACE)
        wait_for("the default service account", lambda: kubectl.exists(*account))
        token = token_of(self._control_plane, "webhook")
        kubeconfig = self._control_plane.kubeconfig_for(token, "rotating-webhook")
        with ExitStack() as stack:
            for port in self._ports:
                stack.enter_context(self._webhook(kubeconfig, port))
            lead_to_loopback(self._control_plane, self._ports[0])
            wait_for("both replicas", self._all_serve, 120, self._story)
            wait_for("a first injection", lambda: self._create(self._api()) is None, 120, self._story)
            load = [self._creating] * _CREATORS + [self._shaking_hands]
            threads = [threading.Thread(target=one) for one in load]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                self._ended.set()
                for thread in threads:
                    thread.join()
                kubectl("delete", "namespace", NAMESPACE, "--wait=false")
                kubectl("delete", "service", "webhook", "-n", SYSTEM)
                kubectl("apply", "-k", "deploy")

    def rotate(self) -> None:
        """Makes a new root, and has it sign. Returns when the old one is gone."""
        store = KubernetesStore(self._api(), SYSTEM)
        begun = ControlPlaneRoots.from_files(self._stored(store).files)
        prepared = ControlPlaneRoots(begun.signing, new_root(datetime.now(UTC)), begun.retired)
        assert prepared.successor is not None
        self._write(store, prepared)
        published = prepared.roots.to_pem()
        wait_for("a client that has read it", lambda: self._known == published, story=self._failures)
        time.sleep(_OVERLAP_SECONDS)
        self._write(
            store, ControlPlaneRoots(prepared.successor, None, (begun.signing.certificate, *begun.retired))
        )
        # As if it were due: the next one is under the successor.
        self._control_plane.kubectl("delete", "secret", WEBHOOK.secret, "-n", SYSTEM)
        successor = Roots.of(prepared.successor.certificate)
        wait_for("certificates under the successor", lambda: self._all_verify(successor), 120, self._story)
        self._write(store, ControlPlaneRoots(prepared.successor, None))
        self.counts.rotations += 1
        lead_to_loopback(self._control_plane, self._ports[self.counts.rotations % len(self._ports)])

    def _write(self, store: KubernetesStore, state: ControlPlaneRoots) -> None:
        """Returns when the replicas have published it."""
        store.write(ROOT_SECRET, state.files(), self._stored(store))
        wanted = state.roots.to_pem()
        wait_for("the caBundle", lambda: self._ca_bundle(self._api()) == wanted, 120, self._story)

    def _stored(self, store: KubernetesStore) -> Any:
        stored = store.read(ROOT_SECRET)
        assert stored is not None
        return stored

    def _api(self) -> BoundedApiClient:
        return connect(self._control_plane.kubeconfig)

    def _ca_bundle(self, api: BoundedApiClient) -> str:
        """Of every entry; empty where they differ."""
        entries = api.json("GET", _CONFIGURATION)["webhooks"]
        bundles = {entry["clientConfig"].get("caBundle", "") for entry in entries}
        return base64.b64decode(bundles.pop()).decode() if len(bundles) == 1 else ""

    def _create(self, api: BoundedApiClient) -> str | None:
        """Why the Pod was not injected; None when it was."""
        made = api.json("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", body=_POD, query={"dryRun": "All"})
        names = [one["name"] for one in made["spec"].get("initContainers", [])]
        return None if "vanadium-pod-agent" in names else f"a Pod without identity: {names}"

    def _creating(self) -> None:
        api = self._api()

        def create() -> None:
            self.counts.pods += 1
            if problem := self._create(api):
                self.counts.failures.append(problem)

        self._repeat(create)

    def _shaking_hands(self) -> None:
        api = self._api()
        known: list[tuple[float, str]] = []

        def shake() -> None:
            known.append((time.monotonic(), self._ca_bundle(api)))
            while len(known) > 1 and known[1][0] < time.monotonic() - _BEHIND_SECONDS:
                known.pop(0)
            self._known = known[0][1]
            for port in self._ports:
                self.counts.handshakes += 1
                handshake(port, self._known)

        self._repeat(shake)

    def _repeat(self, attempt: Callable[[], None]) -> None:
        while not self._ended.is_set():
            try:
                attempt()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.counts.failures.append(f"{type(error).__name__}: {error}")

    def _all_verify(self, roots: Roots) -> bool:
        try:
            for port in self._ports:
                handshake(port, roots.to_pem())
        except OSError:  # ssl.SSLError is one
            return False
        return True

    def _all_serve(self) -> bool:
        bundle = self._ca_bundle(self._api())
        return bool(bundle) and self._all_verify(Roots.from_pem(bundle))

    @contextmanager
    def _webhook(self, kubeconfig: Path, port: int) -> Iterator[None]:
        flags = [
            f"--kubeconfig={kubeconfig}", "--host=127.0.0.1", f"--port={port}", "--pod-agent-image=none",
            "--log-level=warning",
        ]  # fmt: skip
        with (self._directory / f"webhook-{port}.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-c", _SOONER, *flags], stderr=log, cwd=CHECKOUT)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def _failures(self) -> str:
        return "\n".join(self.counts.failures[-10:])

    def _story(self) -> str:
        return "\n".join(log.read_text()[-3000:] for log in self._directory.glob("webhook-*.log"))


def handshake(port: int, roots: str) -> None:
    """One with a server that must be the webhook's Service by these roots. Raises OSError."""
    context = ssl.create_default_context(cadata=roots)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
        context.wrap_socket(connection, server_hostname=f"webhook.{SYSTEM}.svc"),
    ):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.rotations")
    parser.add_argument("--rotations", type=int, default=50)
    wanted = parser.parse_args().rotations
    began = time.monotonic()
    with (
        ControlPlane(programs(lambda line: print(line, file=sys.stderr))) as control_plane,
        tempfile.TemporaryDirectory() as directory,
    ):
        rotating = Rotating(control_plane, Path(directory))
        with rotating.running():
            for _ in range(wanted):
                rotating.rotate()
    counts = rotating.counts
    print(
        f"{counts.rotations} rotations in {time.monotonic() - began:.0f} s: {counts.pods} Pods created, "
        f"{counts.handshakes} handshakes, {len(counts.failures)} failures"
    )
    for failure in counts.failures[:10]:
        print(json.dumps(failure))
    sys.exit(bool(counts.failures))


if __name__ == "__main__":
    main()
