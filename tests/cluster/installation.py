"""The product installed on a cluster as its documentation says, and removed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.kubectl import Kubectl, wait_for

SYSTEM = "vanadium-system"
LABEL = "vanadium.io/inject"
POD_AGENT = "vanadium-pod-agent"
_READY_SECONDS = 180


def install(kubectl: Kubectl, directory: Path | str = "deploy") -> None:
    """`kubectl apply -k`, and waits until all of it is ready."""
    kubectl("apply", "-k", str(directory))
    for deployment in ("cluster-agent", "webhook"):
        rolled_out(kubectl, SYSTEM, deployment)


def uninstall(kubectl: Kubectl, directory: Path | str = "deploy") -> None:
    """What docs/operations.md says."""
    kubectl("label", "namespace", "-l", LABEL, f"{LABEL}-")
    wait_for(
        "no bootstrap Secret",
        lambda: not kubectl.exists("secret", "-A", "--field-selector=metadata.name=vanadium-bootstrap"),
        story=lambda: logs(kubectl),
    )
    kubectl("delete", "-k", str(directory), "--timeout=120s")


def rolled_out(kubectl: Kubectl, namespace: str, deployment: str) -> None:
    """Waits until a Deployment has replaced all its Pods."""
    done = kubectl(
        "rollout", "status", f"deployment/{deployment}", "-n", namespace, f"--timeout={_READY_SECONDS}s",
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{kubectl.story(namespace)}\n{logs(kubectl)}"


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


def execute(kubectl: Kubectl, namespace: str, pod: str, container: str, *argv: str) -> tuple[int, str]:
    """Runs a command in a container: its exit code, and what it printed; on failure also its complaints."""
    done = kubectl("exec", "-n", namespace, pod, "-c", container, "--", *argv, check=False)
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def agent_container(pod: dict[str, Any]) -> dict[str, Any]:
    """The status of a Pod's pod agent. Raises KeyError when it has none."""
    return container_status(pod, POD_AGENT)


def container_status(pod: dict[str, Any], name: str) -> dict[str, Any]:
    statuses = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
    return {status["name"]: status for status in statuses}[name]  # type: ignore[no-any-return]


def name_of(pod: dict[str, Any]) -> str:
    name: str = pod["metadata"]["name"]
    return name
