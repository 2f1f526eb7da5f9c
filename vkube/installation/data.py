"""The cluster agent's data in a cluster: copied while it runs, and replaced while it is stopped."""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Self

from cluster_agent.backup.archive import ABOUT, COMPLETE, KEYS
from vkube.connection.cluster import Cluster
from vkube.connection.cluster_agent import running_pod
from vkube.connection.execution import Container, execute
from vkube.errors import ClusterError, VkubeError
from vkube.installation.manifests import CLUSTER_AGENT, PREFIX, environment_of
from vkube.output.lines import note
from vkube.workloads.live import Target
from vkube.workloads.rollout import wait, wait_gone

Object = dict[str, Any]
_PYTHON = "/opt/vanadium/bin/python"
_PAUSE = "import signal; signal.pause()"
_RESTORE = "cluster-agent-restore"
_CHUNK = 1 << 16
_KEYS_DIRECTORY = f"{PREFIX}KEYS_DIRECTORY"


@dataclass(frozen=True)
class Backup:
    """What an archive has: its time, the keys by file name, its length and SHA-256."""

    at: str
    keys: dict[str, bytes]
    length: int
    digest: str

    @classmethod
    def read(cls, file: IO[bytes], name: str) -> Self:
        """Reads a whole archive. Raises VkubeError when it is none, or was cut off."""
        digest, length = hashlib.sha256(), 0
        file.seek(0)
        while content := file.read(_CHUNK):
            digest.update(content)
            length += len(content)
        file.seek(0)
        keys: dict[str, bytes] = {}
        about: Object = {}
        last = ""
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    last = member.name
                    if last == ABOUT or last.startswith(KEYS):
                        opened = archive.extractfile(member)
                        found = opened.read() if opened else b""
                        if last == ABOUT:
                            about = json.loads(found)
                        else:
                            keys[last.removeprefix(KEYS)] = found
            at = str(about["at"])
        except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise VkubeError(f"{name} is no backup, or was cut off: {error}") from error
        if last != COMPLETE:
            raise VkubeError(f"{name} was cut off")
        file.seek(0)
        return cls(at, keys, length, digest.hexdigest())


def archive(cluster: Cluster, file: IO[bytes], *options: str) -> None:
    """Writes a backup of the running cluster agent; with `--audit` of its audit alone, without a key. Raises
    VkubeError."""
    pod = running_pod(cluster, CLUSTER_AGENT)
    command = [_PYTHON, "-m", "cluster_agent.backup.archive", *options]
    execute(cluster, Container(cluster.system, pod, CLUSTER_AGENT), command, stdout=file.write)


def restored(cluster: Cluster, backup: Backup, file: IO[bytes], seconds: int) -> Iterator[str]:
    """Replaces the data, and returns lines for the operator. The cluster agent is stopped meanwhile, and is
    started again in any case. Raises VkubeError."""
    collection = f"/apis/apps/v1/namespaces/{cluster.system}/deployments"
    deployment = cluster.get(f"{collection}/{CLUSTER_AGENT}")
    target = Target({**deployment, "kind": "Deployment"}, CLUSTER_AGENT, collection)
    replicas = int(deployment["spec"].get("replicas", 1)) or 1
    if shared := _keys_secret(deployment):
        _put_keys(cluster, shared, backup)
    lines = bytearray()
    with _stopped(cluster, target, replicas, seconds), _restoring(cluster, deployment, seconds) as container:
        command = [_PYTHON, "-m", "cluster_agent.backup.restoration"]
        execute(
            cluster,
            container,
            [*command, "--bytes", str(backup.length), "--sha256", backup.digest],
            stdin=iter(lambda: file.read(_CHUNK), b""),
            stdout=lines.extend,
        )
    yield from lines.decode(errors="replace").splitlines()
    wait(cluster, [target], seconds)


@contextmanager
def _stopped(cluster: Cluster, target: Target, replicas: int, seconds: int) -> Iterator[None]:
    """No cluster agent runs in the block."""
    pods = list(
        cluster.items(
            f"/api/v1/namespaces/{cluster.system}/pods",
            labelSelector=f"app.kubernetes.io/name={CLUSTER_AGENT}",
        )
    )
    cluster.patch(target.path, {"spec": {"replicas": 0}})
    try:
        note(f"waiting until {len(pods)} cluster agents have stopped")
        if left := wait_gone(cluster, pods, seconds):
            raise ClusterError(f"after {seconds} s there is still {', '.join(left)}; nothing was restored")
        yield
    finally:
        cluster.patch(target.path, {"spec": {"replicas": replicas}})


@contextmanager
def _restoring(cluster: Cluster, deployment: Object, seconds: int) -> Iterator[Container]:
    """A container with the cluster agent's image, environment and volumes, in which nothing runs."""
    collection = f"/api/v1/namespaces/{cluster.system}/pods"
    pod = _pod(cluster.system, deployment)
    target = Target(pod, _RESTORE, collection)
    cluster.create(collection, pod)
    try:
        wait(cluster, [target], seconds)
        yield Container(cluster.system, _RESTORE, CLUSTER_AGENT)
    finally:
        live = cluster.find(target.path)
        cluster.delete(target.path)
        if live is not None:
            wait_gone(cluster, [live], seconds)


def _pod(namespace: str, deployment: Object) -> Object:
    template = deployment["spec"]["template"]["spec"]
    container = _container(deployment)
    same = ("image", "imagePullPolicy", "env", "envFrom", "resources", "securityContext", "volumeMounts")
    of_the_pod = ("securityContext", "volumes", "imagePullSecrets", "nodeSelector", "tolerations", "affinity")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _RESTORE, "namespace": namespace},
        "spec": {
            **{key: template[key] for key in of_the_pod if key in template},
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    **{key: container[key] for key in same if key in container},
                    "name": CLUSTER_AGENT,
                    "command": [_PYTHON, "-c", _PAUSE],
                }
            ],
        },
    }


def _container(deployment: Object) -> Object:
    found: list[Object] = deployment["spec"]["template"]["spec"]["containers"]
    return next((one for one in found if one["name"] == CLUSTER_AGENT), found[0])


def _keys_secret(deployment: Object) -> str | None:
    """The Secret that has the keys, where several cluster agents share them."""
    mounted = environment_of(deployment).get(_KEYS_DIRECTORY)
    mounts = _container(deployment).get("volumeMounts") or []
    volume = next((one["name"] for one in mounts if mounted and one["mountPath"] == mounted), None)
    volumes = deployment["spec"]["template"]["spec"].get("volumes") or []
    found: Object = next((one for one in volumes if one["name"] == volume), {})
    return (found.get("secret") or {}).get("secretName")


def _put_keys(cluster: Cluster, name: str, backup: Backup) -> None:
    """Makes the Secret have the backup's keys, and no others."""
    if not backup.keys:
        raise VkubeError("the backup has no keys, and the cluster agents share those of a Secret")
    collection = f"/api/v1/namespaces/{cluster.system}/secrets"
    data: dict[str, str | None] = {
        key: base64.b64encode(content).decode() for key, content in backup.keys.items()
    }
    live = cluster.find(f"{collection}/{name}")
    if live is None:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        cluster.create(collection, secret)
    elif (live.get("data") or {}) != data:
        note(f"Secret {cluster.system}/{name} gets the keys of the backup")
        data |= {key: None for key in live.get("data") or {} if key not in data}
        cluster.patch(f"{collection}/{name}", {"data": data})
