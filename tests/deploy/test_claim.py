"""From `kubectl apply -k deploy/overlays/claim` to a claimed agent that names Pods: the programs run as
processes with the settings of the manifests, on a real API server."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from blessings import Blessing, Principal, Roots, verify_blessing
from blessings.directory import DirectoryPrincipal
from blessings.tls import client_context
from pod_agent.credential import Credential, parse_credential
from tests.checkout import CHECKOUT
from tests.cluster_agents import SERVER_NAME, free_port
from tests.controlplane.control_plane import ControlPlane
from tests.csrs import csr_of
from tests.endtoend.installation import SYSTEM, serving_files, token_file, token_of
from tests.endtoend.program import program
from tests.waiting import wait_for
from webhook.layout import ROOTS_KEY

OVERLAY = "deploy/overlays/claim"
SECRETS = "/var/run/secrets/vanadium.io"


@pytest.fixture
def applied(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    control_plane.kubectl("apply", "-k", OVERLAY)
    try:
        yield control_plane
    finally:
        control_plane.kubectl("delete", "namespace", "shop-claim", "--ignore-not-found", "--wait=false")
        control_plane.kubectl("delete", "-k", OVERLAY, "--ignore-not-found", "--timeout=120s")


def settings_of(control_plane: ControlPlane, deployment: str, prefix: str) -> dict[str, str]:
    """As the API server has them, by flag."""
    spec = control_plane.kubectl.get("deployment", deployment, "-n", SYSTEM)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return {one["name"].removeprefix(prefix).lower(): one["value"] for one in container["env"]}


def mount(control_plane: ControlPlane, secret: str, directory: Path) -> Path:
    """A Secret's files, as a kubelet mounts them."""
    directory.mkdir()
    data = control_plane.kubectl.get("secret", secret, "-n", SYSTEM)["data"]
    for name, value in data.items():
        (directory / name).write_bytes(base64.b64decode(value))
    return directory


def vkube(*arguments: object) -> str:
    command = [sys.executable, "-m", "vkube", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_an_agent_is_claimed_and_the_webhook_works_from_then_on(
    applied: ControlPlane, tmp_path: Path
) -> None:
    (tmp_path / "code").write_text(secrets.token_hex(16))
    kubectl = applied.kubectl
    kubectl(
        "create", "secret", "generic", "cluster-agent-claim", "-n", SYSTEM, f"--from-file={tmp_path / 'code'}"
    )
    settings = settings_of(applied, "cluster-agent", "VANADIUM_CLUSTER_AGENT_")
    assert settings["claim"] == "required"
    assert settings["claim_code_file"] == f"{SECRETS}/claim/code"
    port, health_port = free_port(), free_port()
    url = f"https://127.0.0.1:{port}"
    on_this_machine: dict[str, Any] = {
        **settings,
        "host": "127.0.0.1",
        "port": port,
        "health_port": health_port,
        "data_directory": tmp_path / "data",
        "claim_code_file": mount(applied, "cluster-agent-claim", tmp_path / "claim") / "code",
        "kubernetes_api_url": applied.url,
        "kubernetes_ca_file": applied.ca_certificate,
        "kubernetes_token_file": token_file(applied, tmp_path),
    }
    webhook = {
        **settings_of(applied, "webhook", "VANADIUM_WEBHOOK_"),
        "kubeconfig": applied.kubeconfig_for(token_of(applied, "webhook"), "claim-webhook"),
        "host": "127.0.0.1",
        "port": free_port(),
        "cluster_agent_url": url,
    }

    def ready() -> tuple[int, Any]:
        try:
            answer = httpx.get(f"http://127.0.0.1:{health_port}/readyz")
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json()

    def story() -> str:
        return "\n".join(log.read_text()[-3000:] for log in tmp_path.glob("*.log"))

    with program("webhook", tmp_path, **webhook):
        on_this_machine["serving_directory"] = serving_files(applied, tmp_path / "serving")
        with program("cluster_agent", tmp_path, **on_this_machine):
            wait_for("an agent that waits for a claim", lambda: "reason" in ready()[1], 120, story)
            kubectl("create", "namespace", "shop-claim")
            kubectl("label", "namespace", "shop-claim", "vanadium.io/inject=enabled")
            kubectl("create", "serviceaccount", "web", "-n", "shop-claim")
            wait_for("a refusal in the webhook's log", lambda: "Unclaimed" in story(), 120, story)
            assert not kubectl.exists("secret", "vanadium-bootstrap", "-n", "shop-claim")

            vkube("principal", "create", "--with-passphrase=false", tmp_path / "root", "acme")
            said = vkube(
                "claim-cluster-agent",
                *("--kubeconfig", applied.kubeconfig, "--cluster-agent", url),
                *("--credentials", tmp_path / "root", "--ca", tmp_path / "serving" / "ca.crt"),
            )
            assert "names what is under acme:prod" in said
            wait_for("a ready agent", lambda: ready()[0] == 200, 120, story)
            assert not kubectl.exists("secret", "cluster-agent-claim", "-n", SYSTEM)

            def credential() -> Credential | None:
                if not kubectl.exists("secret", "vanadium-bootstrap", "-n", "shop-claim"):
                    return None
                data = kubectl.get("secret", "vanadium-bootstrap", "-n", "shop-claim")["data"]
                texts = {name: base64.b64decode(text).decode() for name, text in data.items()}
                return parse_credential(texts["web"], lambda: texts[ROOTS_KEY]) if "web" in texts else None

            held = wait_for("a bootstrap credential", credential, 120, story)
            assert held is not None
            chain = issued(applied, url, held)
    root: Roots = DirectoryPrincipal.open(tmp_path / "root").roots
    name = verify_blessing(chain, root, now=datetime.now(UTC))
    assert str(name) == "acme:prod:shop-claim:web:web-1"


def issued(control_plane: ControlPlane, url: str, credential: Credential) -> Blessing:
    """What a pod agent of a Pod `web-1` gets, by the API server's own token."""
    spec = {"serviceAccountName": "web", "containers": [{"name": "c", "image": "none"}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop-claim"},
        "spec": spec,
    }
    control_plane.kubectl.apply(pod)
    token = control_plane.kubectl(
        *("create", "token", "web", "-n", "shop-claim", "--audience=vanadium-cluster-agent"),
        *("--bound-object-kind=Pod", "--bound-object-name=web-1"),
    ).stdout.strip()
    context = client_context(credential.principal, credential.blessing, credential.cluster_agent_roots)
    context.check_hostname = True
    with httpx.Client(base_url=url, verify=context) as client:
        answer = client.post(
            "/v1/seek-blessings",
            json={"csr": csr_of(Principal.create()), "token": token},
            extensions={"sni_hostname": SERVER_NAME},
        )
    assert answer.is_success, answer.text
    return Blessing.from_pem(answer.json()["chain"])
