"""The overlay for cert-manager, with cert-manager's own controllers: `python -m tests.deploy.cert_manager`.

A real API server, cert-manager's certificate, issuer and request controllers and its cainjector (go_module)
with the rights of cert-manager's own Helm chart, and the webhook and the cluster agent with the files of the
Secrets that these make. The API server reaches the webhook by the caBundle of the cainjector; the cluster
agent signs with the certificate of the overlay's Issuer, and follows its renewal. Building cert-manager's
code takes some minutes, once.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.checkout import CHECKOUT
from tests.cluster_agents import ADMINISTRATOR, free_port
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import Source, go_toolchain, programs
from tests.deploy.custom_resources import CERT_MANAGER
from tests.endtoend.installation import (
    SYSTEM,
    lead_to_loopback,
    serving_files,
    token_file,
    token_of,
)
from tests.endtoend.program import program
from tests.kubectl import Kubectl
from tests.pods import pod
from tests.waiting import wait_for
from webhook.layout import CONTAINER

_SOURCE = Source(
    Path(__file__).parent / "go_module", {"cert-manager": "./cert-manager"}, "some minutes, once"
)
_DEFINITIONS = replace(CERT_MANAGER, files=("deploy/crds",))
_CHART = "deploy/charts/cert-manager"
_RIGHTS = replace(
    CERT_MANAGER,
    files=(
        f"{_CHART}/values.yaml",
        f"{_CHART}/templates/rbac.yaml",
        f"{_CHART}/templates/cainjector-rbac.yaml",
    ),
)
_ACCOUNT = "cert-manager"
_NAME = re.compile(r'\{\{ (?:template|include) "([a-z-]+)\.(?:full)?name" \. \}\}')
_ITS_ACCOUNT = re.compile(r'\{\{ (?:template|include) "[a-z-]+\.(?:serviceAccountName|namespace)" \. \}\}')
_COMMENT = re.compile(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", re.DOTALL)
_SIGNER = re.compile(r"( *- )\{\{ \. \| quote \}\}")
_CONFIGURATION = "vanadium-webhook"
_ISSUING, _SERVING = "cluster-agent-issuing", "webhook-tls"


def main() -> None:
    controllers = programs(_say, source=_SOURCE)["cert-manager"]
    with tempfile.TemporaryDirectory() as name, ControlPlane(programs(_say)) as control_plane:
        directory = Path(name)
        for crds in _DEFINITIONS.paths(go_toolchain(_say)):
            control_plane.kubectl("apply", "--server-side", "-f", str(crds))
        control_plane.kubectl("apply", "-k", str(_overlay(directory)))
        control_plane.kubectl("scale", "deployment", "--all", "--replicas=0", "-n", SYSTEM)
        kubeconfig = _cert_managers_own(control_plane)
        with (directory / "cert-manager.log").open("wb") as log:
            environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
            running = subprocess.Popen([controllers], env=environment, stderr=log)
        try:
            _follow(control_plane, directory)
        except BaseException:
            for one in directory.glob("*.log"):
                print(f"{one.name}:\n{one.read_text()[-3000:]}", file=sys.stderr)
            raise
        finally:
            running.kill()
            running.wait()


def _cert_managers_own(control_plane: ControlPlane) -> Path:
    """A kubeconfig of one service account, with the rights for the whole cluster that the chart gives to its
    two."""
    values, *templates = (path.read_text() for path in _RIGHTS.paths(go_toolchain(_say)))
    signers: list[str] = yaml.safe_load(values)["approveSignerNames"]
    rights = [
        one
        for template in templates
        for one in yaml.safe_load_all(_filled_in(template, signers))
        if one and one["kind"].startswith("ClusterRole")
    ]
    kubectl = control_plane.kubectl
    kubectl("create", "namespace", _ACCOUNT)
    kubectl("create", "serviceaccount", _ACCOUNT, "-n", _ACCOUNT)
    kubectl.apply(*rights)
    token = kubectl("create", "token", _ACCOUNT, "-n", _ACCOUNT).stdout.strip()
    return control_plane.kubeconfig_for(token, _ACCOUNT)


def _filled_in(template: str, signers: list[str]) -> str:
    """The template as Helm would write it, as far as rights are concerned: the lines that are left out are
    conditions, which hold by default, and labels."""
    named = _ITS_ACCOUNT.sub(_ACCOUNT, _NAME.sub(r"\1", _COMMENT.sub("", template)))
    listed = _SIGNER.sub(lambda found: "\n".join(f"{found[1]}{one}" for one in signers), named)
    return "\n".join(line for line in listed.splitlines() if "{{" not in line)


def _follow(control_plane: ControlPlane, directory: Path) -> None:
    kubectl = control_plane.kubectl
    issuing, tls = directory / "issuing", directory / "webhook-tls"
    _mount(kubectl, _ISSUING, issuing)
    _mount(kubectl, _SERVING, tls)
    _say("cert-manager made the issuing certificate, and the webhook's")
    bundle = base64.b64encode((tls / "ca.crt").read_bytes()).decode()
    wait_for("the cainjector's caBundle", lambda: set(_ca_bundles(kubectl)) == {bundle})
    _say("its cainjector wrote caBundle")
    port = free_port()
    lead_to_loopback(control_plane, port)
    with (
        program(
            "webhook",
            directory,
            kubeconfig=control_plane.kubeconfig_for(token_of(control_plane, "webhook"), "webhook"),
            host="127.0.0.1",
            port=port,
            pod_agent_image="vanadium/pod-agent",
            tls_certificate_file=tls / "tls.crt",
            tls_key_file=tls / "tls.key",
        ),
        _cluster_agent(control_plane, directory, issuing) as health,
    ):
        _label(kubectl)
        wait_for("an injected Pod", lambda: CONTAINER in _made(kubectl))
        assert set(_ca_bundles(kubectl)) == {bundle}, "the webhook leaves it alone"
        _say("the API server reaches the webhook by it: a Pod is injected")
        wait_for("the cluster agent", lambda: _is_ready(health))
        _say("the cluster agent takes the issuing certificate")
        before, taken = _key(issuing), _taken(directory)
        _renew(kubectl)
        wait_for("a renewed key", lambda: _mount(kubectl, _ISSUING, issuing) and _key(issuing) != before)
        wait_for("the renewed certificate", lambda: _taken(directory) > taken)
        _say("it takes the renewed one, with another key")


def _overlay(directory: Path) -> Path:
    made = directory / "overlay"
    made.mkdir()
    deploy = os.path.relpath(CHECKOUT / "deploy", made)  # kustomize takes no absolute paths
    parts = {
        "resources": [f"{deploy}/overlays/cert-manager"],
        "components": [f"{deploy}/components/cert-manager-webhook"],
    }
    (made / "kustomization.yaml").write_text(yaml.safe_dump(parts))
    return made


def _mount(kubectl: Kubectl, secret: str, directory: Path) -> bool:
    """The Secret's files, as a kubelet would mount them."""

    def look() -> dict[str, str]:
        found = kubectl("get", "secret", secret, "-n", SYSTEM, "-o", "json", check=False)
        return json.loads(found.stdout).get("data", {}) if found.returncode == 0 else {}

    data = wait_for(f"Secret {secret}", lambda: found if "tls.crt" in (found := look()) else {})
    directory.mkdir(exist_ok=True)
    for name, value in data.items():
        (directory / name).write_bytes(base64.b64decode(value))
    return True


def _key(directory: Path) -> bytes:
    return (directory / "tls.key").read_bytes()


def _ca_bundles(kubectl: Kubectl) -> list[str | None]:
    entries = kubectl.get("mutatingwebhookconfiguration", _CONFIGURATION)["webhooks"]
    return [entry["clientConfig"].get("caBundle") for entry in entries]


def _label(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "shop")
    kubectl("label", "namespace", "shop", "vanadium.io/inject=enabled")
    wait_for("a service account", lambda: kubectl.exists("serviceaccount", "default", "-n", "shop"))


def _made(kubectl: Kubectl) -> str:
    asked = ("create", "--dry-run=server", "-n", "shop", "-o", "json", "-f", "-")
    return kubectl(*asked, stdin=json.dumps(pod()), check=False).stdout


@contextmanager
def _cluster_agent(control_plane: ControlPlane, directory: Path, issuing: Path) -> Iterator[str]:
    """The address of its health port."""
    health_port = free_port()
    with program(
        "cluster_agent",
        directory,
        name_prefix="acme:prod",
        host="127.0.0.1",
        port=free_port(),
        health_port=health_port,
        data_directory=directory / "data",
        issuing_directory=issuing,
        serving_directory=serving_files(control_plane, directory / "serving"),
        kubernetes_api_url=control_plane.url,
        kubernetes_ca_file=control_plane.ca_certificate,
        kubernetes_token_file=token_file(control_plane, directory),
        administrators=ADMINISTRATOR,
    ):
        yield f"http://127.0.0.1:{health_port}"


def _is_ready(health: str) -> bool:
    try:
        return httpx.get(f"{health}/readyz").is_success
    except httpx.TransportError:
        return False


def _taken(directory: Path) -> int:
    """How often the agent took other files, as its log has it."""
    return (directory / "cluster_agent.log").read_text().count("mounted issuer taken")


def _renew(kubectl: Kubectl) -> None:
    """As `cmctl renew` does it."""
    path = ("certificate", _ISSUING, "-n", SYSTEM)
    conditions: list[dict[str, Any]] = kubectl.get(*path)["status"]["conditions"]
    asked = {
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "renewed by the test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"status": {"conditions": [*conditions, asked]}}
    kubectl("patch", *path, "--subresource=status", "--type=merge", "-p", json.dumps(status))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
