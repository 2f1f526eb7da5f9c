"""The product installed on a test control plane: `kubectl apply -k deploy`, and what a node would add.

The webhook and the cluster agent run as processes beside the API server, each with the rights of its own
service account and no more. A Service of type ExternalName leads the API server to the webhook, since a
control plane on loopback has no network for ClusterIPs. The Pods of users run by the runner.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
from kubernetes import client, config

from blessings import Principal
from blessings.tls import client_context
from certs.roots import ControlPlaneRoots
from certs.rotation import ROOT_SECRET
from pod_agent.credential import Credential, parse_credential
from tests.checkout import CHECKOUT
from tests.cluster_agents import ADMINISTRATOR, free_port
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.program import Runtime, program
from tests.kubectl import KubectlError
from tests.pods import pod, restricted_container
from tests.waiting import PATIENCE_SECONDS, wait_for
from vkube.runner import BackOff, Node, RunningPod, Surroundings
from vkube.runner.api_client import TypedApiClient
from vkube.runner.kubernetes_node import KubernetesNode
from vkube.runner.kubernetes_resources import KubernetesResources
from webhook.layout import CONTAINER, ROOTS_KEY

_T = TypeVar("_T")
SYSTEM = "vanadium-system"
NODE = "runner"
# Short, so that the tests see renewals against the real TokenReview.
TTL_SECONDS = 45


class Runner:
    """The runner as a node of the control plane, in an event loop of its own."""

    def __init__(self, control_plane: ControlPlane, directory: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="runner", daemon=True)
        configuration = client.Configuration()
        config.load_kube_config(  # type: ignore[no-untyped-call]
            str(control_plane.kubeconfig), client_configuration=configuration
        )
        api = TypedApiClient(configuration)
        surroundings = Surroundings(
            KubernetesResources(client.CoreV1Api(api)),
            images={"vanadium/pod-agent": ["python", "-m", "pod_agent"]},
            extra_environment={"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT}/examples/fortune"},
            back_off=BackOff(first=0.5, longest=5),
            refresh_seconds=0.5,
        )
        self._api = api
        self._directory = directory
        self._surroundings = surroundings

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        stop, ready = asyncio.Event(), threading.Event()

        async def run() -> None:
            self._node = KubernetesNode(self._api, NODE, Node(self._directory, self._surroundings))
            async with self._node.running():
                ready.set()
                await stop.wait()

        ended = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            while not ready.wait(0.1):
                if ended.done():
                    ended.result()
            yield
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            ended.result(PATIENCE_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def pod(self, name: str) -> RunningPod:
        (found,) = [pod for pod in self._node.pods.values() if pod.name == name]
        return found

    def execute(self, pod: str, container: str, *argv: str) -> tuple[int, str]:
        """What `kubectl exec` would do."""
        return self._do(self.pod(pod).execute(container, argv))

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)


@dataclass
class Installation:
    """The installed product."""

    control_plane: ControlPlane
    runner: Runner
    cluster_agent_url: str
    cluster_agent_health_url: str
    logs: Path
    webhook_pid: int

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.control_plane.kubectl(*arguments, stdin=stdin, check=check).stdout

    def get(self, *arguments: str) -> Any:
        return self.control_plane.kubectl.get(*arguments)

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.control_plane.kubectl.apply(*manifests)

    def credential(self, namespace: str, service_account: str) -> Credential:
        """The bootstrap credential in the namespace's Secret, once it is there."""

        def look() -> Credential:
            data = self.get("secret", "vanadium-bootstrap", "-n", namespace)["data"]
            texts = {key: base64.b64decode(value).decode() for key, value in data.items()}
            return parse_credential(texts[service_account], lambda: texts[ROOTS_KEY])

        what = f"the credential of {namespace}/{service_account}"
        return wait_for(what, look, story=self.logs_end, not_yet=(KubectlError, KeyError))

    def control_plane_client(self, extension: str) -> httpx.Client:
        """Calls the cluster agent with a certificate under the control plane's root, which is in a Secret."""
        data = self.get("secret", ROOT_SECRET, "-n", SYSTEM)["data"]
        roots = ControlPlaneRoots.from_files(
            {key: base64.b64decode(value).decode() for key, value in data.items()}
        )
        principal = Principal.create()
        blessing = roots.signing.bless(
            principal.public_key, extension, now=datetime.now(UTC), lifetime=timedelta(hours=1)
        )
        context = client_context(principal, blessing, roots.roots)
        return httpx.Client(base_url=self.cluster_agent_url, verify=context)

    def ready_pods(self, namespace: str, count: int) -> list[dict[str, Any]]:
        """The namespace's Pods once `count` are ready, and no others are left."""
        try:
            return self.control_plane.kubectl.ready_pods(namespace, count)
        except AssertionError as error:
            error.add_note(self.logs_end())
            raise

    def wait_until_injected(self, namespace: str) -> None:
        """Until Pods can be created there, and the API server has learnt of the namespace's label and of the
        webhook: it follows both, a moment behind what was written."""
        asked = ("create", "--dry-run=server", "-n", namespace, "-o", "json", "-f", "-")
        subject = json.dumps(pod(restricted_container(), generate_name="asked-"))
        wait_for(
            f"a Pod with identity in {namespace}",
            lambda: CONTAINER in self.kubectl(*asked, stdin=subject, check=False),
            story=self.logs_end,
        )

    def logs_end(self) -> str:
        return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in self.logs.glob("*.log"))


def flags(installed: Installation) -> list[object]:
    """For vkube: the cluster's own right, and the agent where it is, since there is no kubelet to forward a
    port."""
    return [
        "--kubeconfig",
        installed.control_plane.kubeconfig,
        "--cluster-agent",
        installed.cluster_agent_url,
    ]


@contextmanager
def installation(
    control_plane: ControlPlane, logs: Path, webhook: Runtime | None = None
) -> Iterator[Installation]:
    """Installs by the manifests in deploy/, and runs what they would run: the webhook by `webhook`."""
    control_plane.kubectl("apply", "-k", "deploy")
    # Their Pods cannot run here; the same programs do, below.
    control_plane.kubectl("scale", "deployment", "--all", "--replicas=0", "-n", SYSTEM)
    webhook_port, agent_port, health_port = free_port(), free_port(), free_port()
    lead_to_loopback(control_plane, webhook_port)
    agent_url = f"https://127.0.0.1:{agent_port}"
    with tempfile.TemporaryDirectory(prefix="vk-", ignore_cleanup_errors=True) as short:
        runner = Runner(control_plane, Path(short))
        with (
            program(
                "webhook",
                logs,
                webhook,
                kubeconfig=control_plane.kubeconfig_for(token_of(control_plane, "webhook"), "webhook"),
                host="127.0.0.1",
                port=webhook_port,
                pod_agent_image="vanadium/pod-agent",
                cluster_agent_url=agent_url,
            ) as serving,
            program(
                "cluster_agent",
                logs,
                name_prefix="acme:prod",
                host="127.0.0.1",
                port=agent_port,
                health_port=health_port,
                data_directory=logs / "data",
                serving_directory=serving_files(control_plane, logs / "serving"),
                kubernetes_api_url=control_plane.url,
                kubernetes_ca_file=control_plane.ca_certificate,
                kubernetes_token_file=token_file(control_plane, logs),
                ttl_seconds=TTL_SECONDS,
                minimum_ttl_seconds=1,
                # Kubernetes accepts no certificate for less than an hour.
                pod_certificates="off",
                administrators=ADMINISTRATOR,
            ),
            runner.running(),
        ):
            installed = Installation(
                control_plane, runner, agent_url, f"http://127.0.0.1:{health_port}", logs, serving.pid
            )
            _wait_until_served(installed, webhook_port)
            yield installed


@contextmanager
def labelled_namespace(installed: Installation, name: str) -> Iterator[None]:
    """A namespace with our label, in which Pods can be created."""
    metadata = {"name": name, "labels": {"vanadium.io/inject": "enabled"}}
    installed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    installed.wait_until_injected(name)
    try:
        yield
    finally:
        installed.kubectl("delete", "namespace", name, "--wait=false")


def lead_to_loopback(control_plane: ControlPlane, port: int) -> None:
    """Makes the API server reach the webhook at this port of the loopback, and wait for it longer than a busy
    machine takes to answer: after five seconds, as in deploy/, a Pod is created without identity."""
    service = {"spec": {"type": "ExternalName", "externalName": "localhost", "selector": None}}
    control_plane.kubectl(
        "patch", "service", "webhook", "-n", SYSTEM, "--type=merge", "-p", json.dumps(service)
    )
    patch = [
        {"op": "replace", "path": f"/webhooks/{entry}/{field}", "value": value}
        for entry in range(2)
        for field, value in (("clientConfig/service/port", port), ("timeoutSeconds", 30))
    ]
    control_plane.kubectl(
        "patch", "mutatingwebhookconfiguration", "vanadium-webhook", "--type=json", "-p", json.dumps(patch)
    )


def token_of(control_plane: ControlPlane, service_account: str) -> str:
    """Of one of our own service accounts."""
    return control_plane.kubectl("create", "token", service_account, "-n", SYSTEM).stdout.strip()


def token_file(control_plane: ControlPlane, directory: Path) -> Path:
    """The cluster agent's, as a kubelet would mount it."""
    file = directory / "cluster-agent.token"
    file.write_text(token_of(control_plane, "cluster-agent"))
    return file


def serving_files(control_plane: ControlPlane, directory: Path) -> Path:
    """The Secret that the webhook makes, as the kubelet would mount it."""

    def look() -> dict[str, str]:
        got = control_plane.kubectl(
            "get", "secret", "cluster-agent-serving", "-n", SYSTEM, "-o", "json", check=False
        )
        return json.loads(got.stdout)["data"] if got.returncode == 0 else {}

    data = wait_for("Secret cluster-agent-serving", look)
    directory.mkdir()
    for name, value in data.items():
        (directory / name).write_bytes(base64.b64decode(value))
    return directory


def _wait_until_served(installed: Installation, webhook_port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def ready() -> bool:
        try:
            agent = httpx.get(f"{installed.cluster_agent_health_url}/readyz", timeout=60)
            webhook = httpx.get(f"https://127.0.0.1:{webhook_port}/readyz", verify=context, timeout=60)
        except httpx.TransportError:
            return False
        entries = installed.get("mutatingwebhookconfiguration", "vanadium-webhook")["webhooks"]
        published = all(entry["clientConfig"].get("caBundle") for entry in entries)
        return agent.is_success and webhook.is_success and published

    wait_for("webhook and cluster agent", ready, story=installed.logs_end)
