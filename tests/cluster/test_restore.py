"""The commands of docs/operations.md that back up and restore, as an administrator would paste them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.cluster.cluster import Cluster
from tests.cluster.installation import OPERATIONS, SYSTEM, execute, name_of, wait_until_injecting
from tests.cluster.workloads import deployment, make_namespace
from tests.kubectl import Kubectl

PLACE = "restored"
SECONDS = 300
PYTHON = "/opt/vanadium/bin/python"
DIGEST = (
    "import hashlib, pathlib\n"
    "for key in sorted(pathlib.Path('/var/lib/vanadium/data').glob('*.pem')):\n"
    "    print(key.name, hashlib.sha256(key.read_bytes()).hexdigest())\n"
)
LOSE = "import shutil; shutil.rmtree('/var/lib/vanadium/data')"


def section() -> str:
    return OPERATIONS.read_text().split("## Back up and restore")[1].split("\n## ")[0]


def commands(having: str) -> str:
    """The one block of commands in the section that has this."""
    blocks = re.findall(r"(?:^    .*\n)+", section(), re.MULTILINE)
    (block,) = [block for block in blocks if having in block]
    return str(block)


def in_agent(kubectl: Kubectl, program: str) -> str:
    """What Python prints in the cluster agent's container, once that and the two webhooks are ready."""
    (pod,) = [pod for pod in kubectl.ready_pods(SYSTEM, 3) if name_of(pod).startswith("cluster-agent")]
    code, printed = execute(kubectl, SYSTEM, name_of(pod), "cluster-agent", PYTHON, "-c", program)
    assert code == 0, printed
    return printed


def test_a_lost_volume_is_restored_by_the_documented_commands(installed: Cluster, tmp_path: Path) -> None:
    kubectl = installed.kubectl
    (manifest,) = re.findall(r"^```yaml\n(# restore\.yaml\n.*?)^```", section(), re.M | re.S)
    (tmp_path / "restore.yaml").write_text(manifest.replace("REGISTRY/", "vanadium/"))
    (tmp_path / "deploy").symlink_to(CHECKOUT / "deploy")
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(kubectl.command)} "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def paste(block: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", block], cwd=tmp_path, env=environment, timeout=SECONDS, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{kubectl.story(SYSTEM)}"
        return done.stdout

    keys = in_agent(kubectl, DIGEST)
    assert len(keys.splitlines()) == 3
    make_namespace(kubectl, PLACE)
    wait_until_injecting(kubectl, PLACE)
    try:
        kubectl.apply(deployment(PLACE, "before", 1))
        kubectl.ready_pods(PLACE, 1)
        paste(commands("back_up.py"))
        in_agent(kubectl, LOSE)
        assert "restored: bootstrap.pem" in paste(commands("restore.py"))
        assert in_agent(kubectl, DIGEST) == keys
        # The credential that was made before the backup is good for another Pod.
        kubectl("scale", "deployment/before", "-n", PLACE, "--replicas=2")
        kubectl.ready_pods(PLACE, 2)
    finally:
        kubectl("delete", "namespace", PLACE)
