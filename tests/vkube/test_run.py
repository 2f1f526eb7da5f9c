"""`vkube run` as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.checkout import CHECKOUT

VKUBE = [sys.executable, "-m", "vkube"]


def test_the_sample_application_runs_until_ctrl_c() -> None:
    manifest = CHECKOUT / "examples/fortune/deployment.yaml"
    flags = ["-f", str(manifest), "--python-path", f"{CHECKOUT}:{CHECKOUT}/examples/fortune"]
    process = subprocess.Popen(
        [*VKUBE, "run", *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=CHECKOUT
    )
    assert process.stdout is not None
    watchdog = threading.Timer(180, process.kill)
    watchdog.start()
    seen: list[str] = []
    serving = 0
    for line in process.stdout:
        seen.append(line)
        serving += "serves at" in line
        if serving == 3:
            process.send_signal(signal.SIGINT)
    watchdog.cancel()
    output = "".join(seen)
    process.stdout.close()
    assert process.wait() == 0, output
    assert serving == 3, output
    assert "local:dev:shop:fortune:fortune-" in output
    assert "left out: Service shop/fortune" in output


def test_a_manifest_that_cannot_be_run_ends_it_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("kind: DaemonSet\nmetadata: {name: x}\n")
    ended = subprocess.run(
        [*VKUBE, "run", "-f", str(tmp_path / "m.yaml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    assert ended.returncode == 1
    assert "local mode does not run a DaemonSet" in ended.stderr


def test_a_pod_that_the_webhook_refuses_is_told_why(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "kind: Namespace\nmetadata: {name: shop, labels: {vanadium.io/inject: enabled}}\n"
        "---\n"
        "kind: Pod\nmetadata: {name: clash, namespace: shop}\n"
        "spec: {containers: [{name: vanadium-pod-agent, image: mine}]}\n"
    )
    ended = subprocess.run(
        [*VKUBE, "run", "-f", str(tmp_path / "m.yaml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    assert ended.returncode == 1
    assert "pod clash is refused" in ended.stderr
