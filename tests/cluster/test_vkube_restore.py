"""vkube backup and restore on a real node: with a store that is there, and after the volume was lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import SYSTEM, execute, name_of, wait_until_injecting
from tests.cluster.workloads import deployment, make_namespace
from tests.kubectl import Kubectl
from tests.vkube.command import called, vkube

PLACE = "restored"
PYTHON = "/opt/vanadium/bin/python"
DIGEST = (
    "import hashlib, pathlib\n"
    "for key in sorted(pathlib.Path('/var/lib/vanadium/data').glob('*.pem')):\n"
    "    print(key.name, hashlib.sha256(key.read_bytes()).hexdigest())\n"
)
LOSE = "import shutil; shutil.rmtree('/var/lib/vanadium/data')"


@pytest.fixture
def place(installed: Cluster) -> Iterator[str]:
    kubectl = installed.kubectl
    make_namespace(kubectl, PLACE)
    wait_until_injecting(kubectl, PLACE)
    yield PLACE
    kubectl("delete", "namespace", PLACE, "--wait=false")


def in_agent(kubectl: Kubectl, program: str) -> str:
    """What Python prints in the cluster agent's container, once that and the two webhooks are ready."""
    (pod,) = [pod for pod in kubectl.ready_pods(SYSTEM, 3) if name_of(pod).startswith("cluster-agent")]
    code, printed = execute(kubectl, SYSTEM, name_of(pod), "cluster-agent", PYTHON, "-c", program)
    assert code == 0, printed
    return printed


def test_a_backup_is_restored_and_what_was_revoked_since_stays_revoked(
    installed: Cluster, administering: list[str], place: str, tmp_path: Path
) -> None:
    kubectl, file = installed.kubectl, tmp_path / "backup.tar"
    keys = in_agent(kubectl, DIGEST)
    assert len(keys.splitlines()) == 3
    kubectl.apply(deployment(place, "before", 2))
    first, second = (name_of(one) for one in kubectl.ready_pods(place, 2))
    said = vkube("backup", file, *administering)
    assert said.endswith(", and bootstrap.pem, issuing.pem, root.pem\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "exists; name a new file" in vkube("backup", file, *administering, ends=1)

    vkube("revoke", "--pod", first, "-n", place, *administering)
    (tmp_path / "half.tar").write_bytes(file.read_bytes()[:3000])
    assert "was cut off" in vkube("restore", tmp_path / "half.tar", *administering, ends=1)
    ended = called("restore", file, *administering)
    assert ended.code == 0, f"{ended.output}\n{kubectl.story(SYSTEM)}"
    # Pods that other tests deleted since may be among them.
    assert re.search(
        r"\nkept what was revoked since: [1-9]\d* certificates, [1-9]\d* replicas, ", ended.stdout
    )
    assert "Deployment vanadium-system/cluster-agent: 1 of 1 updated, 1 of 1 available\n" in ended.stdout
    revoked = json.loads(vkube("get", "revocations", "-n", place, "-o", "json", *administering))["items"]
    assert [one["pod"] for one in revoked] == [first]
    live = json.loads(vkube("get", "replicas", "-n", place, "-o", "json", *administering))["items"]
    assert [one["pod"] for one in live] == [second]

    in_agent(kubectl, LOSE)
    ended = called("restore", file, *administering)
    assert ended.code == 0, f"{ended.output}\n{kubectl.story(SYSTEM)}"
    assert "no store was there to keep anything of" in ended.stdout
    assert in_agent(kubectl, DIGEST) == keys
    # The credential that was made before the backup is good for another Pod.
    kubectl("scale", "deployment/before", "-n", place, "--replicas=3")
    assert len(kubectl.ready_pods(place, 3)) == 3
