"""Objects of manifests in a cluster: where they are, and the Pods of workloads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vkube.connection.cluster import SERVER_SIDE_APPLY, Cluster
from vkube.errors import ConflictError, ManifestError, NotFoundError
from vkube.workloads.sources import documents, mapping
from vkube.workloads.template import KINDS, title

MANAGER = "vkube"
_CONFLICT = re.compile(r'conflicts? with "([^"]*)"')
Object = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """An object of a manifest. `collection` is the path of its kind in its namespace."""

    manifest: Object
    where: str
    collection: str

    @property
    def is_workload(self) -> bool:
        return self.manifest["kind"] in KINDS

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"].get("namespace") or "")

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.manifest['metadata']['name']}"

    @property
    def title(self) -> str:
        return title(self.manifest)


class Resources:
    """The API server's resources by kind, from its discovery documents."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[str, dict[str, Object]] = {}

    def target(self, manifest: Any, where: str) -> Target:
        """The manifest's target; its namespace is completed. Raises ManifestError, ClusterError."""
        manifest = mapping(manifest, where)
        version, kind, metadata = (manifest.get(key) for key in ("apiVersion", "kind", "metadata"))
        if not (isinstance(version, str) and isinstance(kind, str) and isinstance(metadata, dict)):
            raise ManifestError(f"{where}: a manifest needs apiVersion, kind and metadata")
        if not isinstance(metadata.get("name"), str) or not metadata["name"]:
            raise ManifestError(f"{where} ({kind}): metadata.name is missing")
        resource = self._of(version).get(kind)
        if resource is None:
            raise ManifestError(f"{where}: the API server has no {kind} in {version}")
        prefix = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if not resource["namespaced"]:
            return Target(manifest, where, f"{prefix}/{resource['name']}")
        namespace = metadata.get("namespace") or self._cluster.namespace
        metadata = {**metadata, "namespace": namespace}
        return Target(
            {**manifest, "metadata": metadata}, where, f"{prefix}/namespaces/{namespace}/{resource['name']}"
        )

    def _of(self, version: str) -> dict[str, Object]:
        if version not in self._known:
            path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            try:
                found = self._cluster.get(path).get("resources") or []
            except NotFoundError:
                found = []
            self._known[version] = {one["kind"]: one for one in found if "/" not in one["name"]}
        return self._known[version]


def targets(cluster: Cluster, names: Sequence[str], given: str | None) -> list[Target]:
    """The objects of files, directories, `-` or URLs. `given` is -n: a manifest of another namespace is
    refused. Raises ManifestError, also when none of them is a workload."""
    resources = Resources(cluster)
    found = [resources.target(one, where) for where, one in documents(names)]
    for one in found:
        if given and one.namespace not in ("", given):
            raise ManifestError(f"{one.where}: {one.title} is not in the namespace of -n, {given}")
    if not any(one.is_workload for one in found):
        raise ManifestError(f"there is no workload in {', '.join(names)}: expected one of {', '.join(KINDS)}")
    return found


def apply(cluster: Cluster, target: Target, manifest: Object, *, force: bool) -> Object:
    """Server-side apply. Raises ClusterError; ConflictError with what to do about it."""
    try:
        return cluster.patch(target.path, manifest, kind=SERVER_SIDE_APPLY, fieldManager=MANAGER, force=force)
    except ConflictError as error:
        if not force and set(_CONFLICT.findall(str(error))) == {MANAGER}:
            # What a roll-back wrote counts as another manager's, because it was no apply.
            return apply(cluster, target, manifest, force=True)
        raise ConflictError(
            f"{target.title}: {error}. Leave these fields out of the manifest, or take them over with "
            "--force-conflicts"
        ) from error


def pods_of(cluster: Cluster, workload: Object) -> list[Object]:
    """The Pods of a workload that is in the cluster."""
    metadata = workload["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    path = f"/api/v1/namespaces/{namespace}/pods"
    if workload["kind"] == "Pod":
        found = cluster.find(f"{path}/{name}")
        return [] if found is None else [found]
    owners = {metadata["uid"]}
    if workload["kind"] in ("Deployment", "CronJob"):
        kind = "batch/v1", "jobs"
        if workload["kind"] == "Deployment":
            kind = "apps/v1", "replicasets"
        between = cluster.items(f"/apis/{kind[0]}/namespaces/{namespace}/{kind[1]}")
        owners |= {one["metadata"]["uid"] for one in between if owners & set(_owners(one))}
    return [pod for pod in cluster.items(path) if owners & set(_owners(pod))]


def _owners(manifest: Object) -> Iterator[str]:
    for owner in manifest["metadata"].get("ownerReferences") or []:
        yield owner["uid"]
