"""The product installed on a cluster as its documentation says, and removed again."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.checkout import CHECKOUT
from tests.cluster.workloads import delivered, pod
from tests.kubectl import Kubectl
from tests.waiting import CLUSTER_PATIENCE_SECONDS, wait_for

SYSTEM = "vanadium-system"
LABEL = "vanadium.io/inject"
POD_AGENT = "vanadium-pod-agent"
ADMINISTRATORS = "VANADIUM_CLUSTER_AGENT_ADMINISTRATORS"
ADMINISTRATOR = "vanadium-control-plane:administrator"
OPERATIONS = CHECKOUT / "docs" / "operations.md"


def install(kubectl: Kubectl, directory: Path | str = "deploy") -> None:
    """`kubectl apply -k`, and waits until all of it is ready."""
    kubectl("apply", "-k", str(directory))
    for deployment in ("cluster-agent", "webhook"):
        rolled_out(kubectl, SYSTEM, deployment)


def uninstall(kubectl: Kubectl) -> None:
    """Runs the commands that docs/operations.md has for it."""
    in_shell(kubectl, uninstalling().replace("overlay", "deploy"))


def uninstalling() -> str:
    """The commands of docs/operations.md."""
    section = OPERATIONS.read_text().split("## Uninstall")[1].split("\n## ")[0]
    lines = re.findall(r"^    (.*)$", section, re.MULTILINE)
    assert sum(line.startswith("kubectl ") for line in lines) == 4, section
    return "\n".join(lines)


def in_shell(kubectl: Kubectl, commands: str) -> None:
    """Runs a script in which `kubectl` is that one; it ends with the first command that fails."""
    with TemporaryDirectory() as directory:
        program = Path(directory, "kubectl")
        program.write_text(f'#!/bin/sh\nexec {shlex.join(kubectl.command)} "$@"\n')
        program.chmod(0o755)
        path = f"{directory}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", commands],
            capture_output=True,
            text=True,
            check=False,
            cwd=CHECKOUT,
            env={**os.environ, "PATH": path},
        )
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"


def rolled_out(kubectl: Kubectl, namespace: str, deployment: str) -> None:
    """Waits until a Deployment has replaced all its Pods."""
    done = kubectl(
        "rollout", "status", f"deployment/{deployment}", "-n", namespace,
        f"--timeout={CLUSTER_PATIENCE_SECONDS}s", check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{kubectl.story(namespace)}\n{logs(kubectl)}"


def administer(kubectl: Kubectl) -> None:
    """Sets who may administer, as docs/operations.md has it for quick start; changes nothing the second
    time."""
    kubectl("set", "env", "deployment/cluster-agent", f"{ADMINISTRATORS}={ADMINISTRATOR}", "-n", SYSTEM)
    rolled_out(kubectl, SYSTEM, "cluster-agent")


def logs(kubectl: Kubectl) -> str:
    """The ends of the control plane's logs, for a test that failed."""
    return "\n".join(
        kubectl(
            "logs", "-n", SYSTEM, "-l", f"app.kubernetes.io/name={part}", "--tail=30", "--prefix",
            check=False,
        ).stdout
        for part in ("cluster-agent", "webhook")
    )  # fmt: skip


def everything(kubectl: Kubectl) -> set[str]:
    """Every object as kind, namespace and name, but for those that come and go by themselves."""
    listed = kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
    kinds = [kind for kind in listed if kind.split(".")[0] not in ("events", "leases", "componentstatuses")]
    columns = "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name"
    table = kubectl("get", ",".join(kinds), "-A", "--no-headers", "-o", columns).stdout
    return {" ".join(line.split()) for line in table.splitlines()}


def wait_until_injecting(kubectl: Kubectl, where: str, what: str = POD_AGENT) -> None:
    """Until the API server reaches a webhook, which adds the container or volume `what`: a ready one is in
    the node's rules a moment later."""
    manifest = json.dumps(pod(where, "asking", {}))
    answer = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    wait_for(
        "an injected Pod",
        lambda: what in kubectl(*answer, stdin=manifest, check=False).stdout,
        CLUSTER_PATIENCE_SECONDS,
    )


def wait_until_kubelets_can(kubectl: Kubectl, where: str) -> None:
    """Until a Pod of that namespace can have its identity in a volume: the webhook has seen the node, and the
    cluster agent's roots."""
    manifest = json.dumps(delivered(pod(where, "asking", {}), "volume"))
    create = ("create", "--dry-run=server", "-f", "-")
    wait_for(
        "kubelets that can",
        lambda: kubectl(*create, stdin=manifest, check=False).returncode == 0,
        CLUSTER_PATIENCE_SECONDS,
    )


def execute(kubectl: Kubectl, namespace: str, pod: str, container: str, *argv: str) -> tuple[int, str]:
    """Runs a command in a container: its exit code, and what it printed; on failure also its complaints."""
    done = kubectl("exec", "-n", namespace, pod, "-c", container, "--", *argv, check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def agent_container(pod: dict[str, Any]) -> dict[str, Any]:
    """The status of a Pod's pod agent. Raises KeyError when it has none."""
    return container_status(pod, POD_AGENT)


def container_status(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return {status["name"]: status for status in container_statuses(pod)}[name]


def container_statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The statuses of all of the Pod's containers."""
    status = pod["status"]
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


@contextmanager
def forwarded(kubectl: Kubectl, namespace: str, target: str, port: int) -> Iterator[int]:
    """`kubectl port-forward` to a port; gives the local one."""
    command = [*kubectl.command, "port-forward", "-n", namespace, target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+) ->", line)
        assert found, f"port-forward to {target}: {line!r}"
        try:
            yield int(found[1])
        finally:
            process.terminate()


def name_of(pod: dict[str, Any]) -> str:
    name: str = pod["metadata"]["name"]
    return name
