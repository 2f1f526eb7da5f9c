"""The plain manifests that the tests on a cluster apply: nothing in them knows of blessings."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from tests.checkout import CHECKOUT
from tests.kubectl import Kubectl
from tests.waiting import wait_for

# The sample application's image: it has Python and an unmodified SPIFFE client.
IMAGE = "vanadium/fortune:0.2.0"
# Prints the replica's SPIFFE ID, as the unmodified client gets it from the Workload API.
_PRINT_ID = """
from spiffe import X509Source
with X509Source() as source:
    print(source.get_x509_context().default_svid.spiffe_id)
"""
PRINT_ID = ("python", "-c", _PRINT_ID)
# Prints its name and the serial number of its certificate, where the kubelet keeps them in files.
_PRINT_NAME = """
from agent_client.identity_files import IdentityFiles
blessing = IdentityFiles.of_environment().identity().blessing
print(blessing.presented, blessing.leaf.serial_number)
"""
PRINT_NAME = ("python", "-c", _PRINT_NAME)
# Prints what the agent protocol answers, as `curl --unix-socket $V23_AGENT_PATH http://agent/v1/...` would.
_ASK_AGENT = """
import http.client, os, socket, sys
connection = http.client.HTTPConnection("agent")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(os.environ["V23_AGENT_PATH"])
connection.request("GET", sys.argv[1])
print(connection.getresponse().read().decode())
"""
# Stays, and ends at once when told to.
STAY = ("python", "-c", "import signal; signal.sigwait([signal.SIGTERM])")
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def ask_agent(path: str) -> tuple[str, ...]:
    return ("python", "-c", _ASK_AGENT, path)


def spiffe_id(namespace: str, pod_name: str, service_account: str = "default") -> str:
    """Of a replica, under the prefix that deploy/ comes with."""
    return f"spiffe://acme/prod/{namespace}/{service_account}/{pod_name}"


def namespace(name: str, **labels: str) -> dict[str, Any]:
    """A labelled namespace under Pod Security `restricted`; `labels` are further ones of ours."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "vanadium.io/inject": "enabled",
                "pod-security.kubernetes.io/enforce": "restricted",
                **{f"vanadium.io/{key}": value for key, value in labels.items()},
            },
        },
    }


def make_namespace(kubectl: Kubectl, name: str, **labels: str) -> None:
    """Makes `namespace(name)`, and waits until Pods can be created in it."""
    kubectl.apply(namespace(name, **labels))
    wait_for("service account", lambda: kubectl.exists("serviceaccount", "default", "-n", name))


def container(*command: str, name: str = "app") -> dict[str, Any]:
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "securityContext": RESTRICTED,
    }


def deployment(
    where: str, name: str, replicas: int, template: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": where},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name, template or {}),
        },
    }


def pod_template(name: str, spec: dict[str, Any], **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": {"app": name},
            "annotations": {f"vanadium.io/{key}": value for key, value in annotations.items()},
        },
        "spec": {"containers": [container(*STAY)], "terminationGracePeriodSeconds": 2, **spec},
    }


def pod(where: str, name: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": where, "labels": labels},
        "spec": pod_template(name, spec)["spec"],
    }


def job(where: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": where},
        "spec": job_spec(name, spec),
    }


def job_spec(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"backoffLimit": 0, "template": pod_template(name, {"restartPolicy": "Never", **spec})}


def delivered(workload: dict[str, Any], delivery: str) -> dict[str, Any]:
    """The workload, whose Pods ask for that delivery of their identity."""
    template = workload if workload["kind"] == "Pod" else workload["spec"]["template"]
    template["metadata"].setdefault("annotations", {})["vanadium.io/delivery"] = delivery
    return workload


def fortune(where: str, name: str, replicas: int, delivery: str | None = None) -> dict[str, Any]:
    """A Deployment of the sample application's server, at port 2345. Without `delivery` its namespace
    decides."""
    manifests = yaml.safe_load_all((CHECKOUT / "examples/fortune/deployment.yaml").read_text())
    (server,) = [one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "Deployment"]
    spec = {"containers": copy.deepcopy(server["containers"])}
    made = deployment(where, name, replicas, spec)
    return made if delivery is None else delivered(made, delivery)
