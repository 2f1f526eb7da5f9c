"""The Pods at the API server: a list, and a watch, both with metadata only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from cluster_agent.kubernetes.api import KubernetesApi
from cluster_agent.kubernetes.watched import ApiServerAway, Watched
from service.watch_age import WatchAge

# The form is described at
# https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_MALFORMED = (KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class PodList:
    """The UIDs of all Pods, and from where on to watch."""

    uids: frozenset[str]
    resource_version: str


class KubernetesPods:
    """All Pods of the cluster. `age` is that of what is known of them."""

    def __init__(self, api: KubernetesApi) -> None:
        self._watched = Watched(api, "/api/v1/pods", "Pods", _LIST, ONE)

    @property
    def age(self) -> WatchAge:
        return self._watched.age

    async def list(self) -> PodList:
        uids: set[str] = set()
        version = ""
        try:
            async for items, version in self._watched.pages():  # noqa: B007 - the last one counts
                uids.update(one["metadata"]["uid"] for one in items)
        except _MALFORMED as error:
            raise ApiServerAway(f"Pods not listed: {error!r:.300}") from error
        return PodList(frozenset(uids), version)

    async def deletions(self, resource_version: str) -> AsyncIterator[str]:
        try:
            async for kind, pod in self._watched.events(resource_version):
                if kind == "DELETED":
                    yield pod["metadata"]["uid"]
        except _MALFORMED as error:
            raise ApiServerAway(f"watch ended: {error!r:.300}") from error
