"""kubectl as the tests use it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checkout import CHECKOUT
from tests.waiting import CLUSTER_PATIENCE_SECONDS, wait_for


class KubectlError(Exception):
    """kubectl failed; the message has its arguments and what it said."""


@dataclass(frozen=True)
class Kubectl:
    """A kubectl program for one cluster: a kubeconfig file, else the user's; a context, else its current."""

    program: Path
    kubeconfig: Path | None
    context: str = ""

    @property
    def command(self) -> list[str]:
        """The program with what leads it to the cluster."""
        kubeconfig = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        context = [f"--context={self.context}"] if self.context else []
        return [str(self.program), *kubeconfig, *context]

    def __call__(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs it in the checkout. With `check`, raises KubectlError when it fails."""
        done = subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd=CHECKOUT,
        )
        if check and done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
        return done

    def get(self, *arguments: str) -> Any:
        """What `kubectl get` answers, as JSON."""
        return json.loads(self("get", *arguments, "-o", "json").stdout)

    def apply(self, *manifests: dict[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self("apply", "-f", "-", stdin=json.dumps(items))

    def exists(self, *arguments: str) -> bool:
        return bool(self("get", *arguments, "-o", "name", "--ignore-not-found").stdout)

    def ready_pods(
        self, namespace: str, count: int, seconds: float = CLUSTER_PATIENCE_SECONDS
    ) -> list[dict[str, Any]]:
        """The namespace's Pods once `count` are ready, and no others are left."""

        def look() -> list[dict[str, Any]]:
            pods: list[dict[str, Any]] = self.get("pods", "-n", namespace)["items"]
            return pods if len(pods) == count and all(map(is_ready, pods)) else []

        return wait_for(f"{count} ready pods in {namespace}", look, seconds, lambda: self.story(namespace))

    def story(self, namespace: str) -> str:
        """What there is to know of a namespace's Pods when a test fails."""
        pods = self("get", "pods", "-n", namespace, "-o", "yaml", check=False).stdout
        events = self("get", "events", "-n", namespace, check=False).stdout
        return f"{pods[-6000:]}\n{events}"


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return not pod["metadata"].get("deletionTimestamp") and any(
        one["type"] == "Ready" and one["status"] == "True" for one in conditions
    )
