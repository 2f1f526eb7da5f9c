"""The Pods at the API server: a list in pages, and a watch, both with metadata only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from cluster_agent.kubernetes.api import AnswerTooLong, ApiCallError, KubernetesApi
from service.watch_age import WatchAge

_PATH = "/api/v1/pods"
# The form is described at
# https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_AT_ONCE = 500
# As objects, JSON takes up to twenty times as much. A Pod's author may give it a quarter of a mebibyte of
# annotations, so a page that is longer is asked for again with fewer Pods.
_MOST_PAGE_BYTES = 4 << 20
_WATCH_SECONDS = 300
# Bookmarks come about once a minute; a server that is silent for longer may be gone.
_SILENT_SECONDS = 90
# A server that does not end its watch in time has a wrong clock, or is none.
_LATE_SECONDS = _WATCH_SECONDS + 30
_BAD_ANSWER = (ApiCallError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class ApiServerAway(Exception):
    """No usable answer; nothing is known of any Pod."""


@dataclass(frozen=True)
class PodList:
    """The UIDs of all Pods, and from where on to watch."""

    uids: frozenset[str]
    resource_version: str


class KubernetesPods:
    """All Pods of the cluster. `age` is that of what is known of them."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self.age = WatchAge()

    async def list(self) -> PodList:
        self.age.begin()
        uids: set[str] = set()
        limit, following = _AT_ONCE, ""
        try:
            while True:
                parameters = {"limit": str(limit), **({"continue": following} if following else {})}
                most_bytes = None if limit == 1 else _MOST_PAGE_BYTES  # one Pod is as long as it is
                try:
                    answer = await self._api.read(_PATH, parameters, _LIST, most_bytes=most_bytes)
                except AnswerTooLong:
                    limit = max(1, limit // 8)
                    continue
                self.age.heard()
                # A list in this form has null, not an empty list, when there is no Pod.
                uids.update(one["metadata"]["uid"] for one in answer["items"] or ())
                limit, following = min(_AT_ONCE, limit * 2), answer["metadata"].get("continue")
                if not following:
                    return PodList(frozenset(uids), answer["metadata"]["resourceVersion"])
        except _BAD_ANSWER as error:
            raise ApiServerAway(f"Pods not listed: {error!r:.300}") from error

    async def deletions(self, resource_version: str) -> AsyncIterator[str]:
        parameters = {
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            lines = self._api.lines(
                _PATH, parameters, _ONE, silent_seconds=_SILENT_SECONDS, longest_seconds=_LATE_SECONDS
            )
            async for line in lines:
                self.age.heard()
                event: dict[str, Any] = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiServerAway(f"watch ended: {event['object'].get('reason')}")
                if event["type"] == "DELETED":
                    yield event["object"]["metadata"]["uid"]
        except _BAD_ANSWER as error:
            raise ApiServerAway(f"watch ended: {error!r:.300}") from error
