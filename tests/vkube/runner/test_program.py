"""`python -m vkube.runner` as a node of a real cluster."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from tests.checkout import CHECKOUT
from tests.controlplane.control_plane import ControlPlane
from tests.waiting import PATIENCE_SECONDS, wait_for


def test_a_pod_assigned_to_the_node_runs_and_is_gone_when_deleted(control_plane: ControlPlane) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app"},
        "spec": {
            "nodeName": "program",
            "terminationGracePeriodSeconds": 2,
            "automountServiceAccountToken": False,
            "containers": [{"name": "app", "image": "example/app:1"}],
        },
    }
    command = [sys.executable, "-m", "vkube.runner", "--kubeconfig", str(control_plane.kubeconfig)]
    runs = "--image=example/app=python -c 'import time; time.sleep(600)'"

    def status() -> dict[str, Any]:
        got = control_plane.kubectl("get", "pod", "app", "-n", "by-program", "-o", "json", check=False)
        found: dict[str, Any] = json.loads(got.stdout)["status"] if got.returncode == 0 else {}
        return found

    control_plane.kubectl("create", "namespace", "by-program")
    wait_for(
        "default service account",
        lambda: control_plane.kubectl("get", "sa", "default", "-n", "by-program", check=False).stdout,
    )
    process = subprocess.Popen([*command, "--node-name", "program", runs], cwd=CHECKOUT)
    try:
        wait_for("the node", lambda: control_plane.kubectl("get", "node", "program", check=False).stdout)
        control_plane.kubectl("create", "-n", "by-program", "-f", "-", stdin=json.dumps(pod))
        wait_for("a running Pod", lambda: status().get("phase") == "Running")
        assert status()["podIP"].startswith("127.")
        control_plane.kubectl("delete", "pod", "app", "-n", "by-program")
        assert status() == {}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        control_plane.kubectl("delete", "namespace", "by-program", "--wait=false")
        control_plane.kubectl("delete", "node", "program", check=False)
