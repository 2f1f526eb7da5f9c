"""One kind of object at the API server: a list in pages, and a watch."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster_agent.kubernetes.api import AnswerTooLong, ApiCallError, KubernetesApi
from service.watch_age import WatchAge

_AT_ONCE = 500
# As objects, JSON takes up to twenty times as much. An object's author may give it a quarter of a mebibyte of
# annotations, so a page that is longer is asked for again with fewer objects.
_MOST_PAGE_BYTES = 4 << 20
_WATCH_SECONDS = 300
# Bookmarks come about once a minute; a server that is silent for longer may be gone.
_SILENT_SECONDS = 90
# A server that does not end its watch in time has a wrong clock, or is none.
_LATE_SECONDS = _WATCH_SECONDS + 30
_BAD_ANSWER = (ApiCallError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class ApiServerAway(Exception):
    """No usable answer; nothing is known of any object."""


class NotServed(ApiServerAway):
    """The API server does not have this kind of object."""


@dataclass
class Watched:
    """All objects at `path`, called `what` in messages; `age` is that of what is known of them.

    `list_form` and `form` are the Accept headers for lists and objects, `selection` further parameters.
    """

    api: KubernetesApi
    path: str
    what: str
    list_form: str = "application/json"
    form: str = "application/json"
    selection: Mapping[str, str] = field(default_factory=dict)
    age: WatchAge = field(default_factory=WatchAge)

    async def pages(self) -> AsyncIterator[tuple[list[Any], str]]:
        """The current, complete list in parts: its objects, and the version to watch from, which is that of
        the list as soon as this ends. Raises ApiServerAway, and NotServed."""
        self.age.begin()
        limit, following = _AT_ONCE, ""
        try:
            while True:
                parameters = {**self.selection, "limit": str(limit)}
                if following:
                    parameters["continue"] = following
                most_bytes = None if limit == 1 else _MOST_PAGE_BYTES  # one object is as long as it is
                try:
                    answer = await self.api.read(self.path, parameters, self.list_form, most_bytes=most_bytes)
                except AnswerTooLong:
                    limit = max(1, limit // 8)
                    continue
                self.age.heard()
                # In some forms, a list without objects has null, not an empty list.
                items, metadata = answer["items"] or [], answer["metadata"]
                limit, following = min(_AT_ONCE, limit * 2), metadata.get("continue")
                yield items, metadata["resourceVersion"]
                if not following:
                    return
        except _BAD_ANSWER as error:
            kind = NotServed if isinstance(error, ApiCallError) and error.status == 404 else ApiServerAway
            raise kind(f"{self.what} not listed: {error!r:.300}") from error

    async def events(self, resource_version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The kind of each event after that version, and its object, until the server ends the watch. Raises
        ApiServerAway."""
        parameters = {
            **self.selection,
            "watch": "1",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            lines = self.api.lines(
                self.path,
                parameters,
                self.form,
                silent_seconds=_SILENT_SECONDS,
                longest_seconds=_LATE_SECONDS,
            )
            async for line in lines:
                self.age.heard()
                event: dict[str, Any] = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiServerAway(f"watch ended: {event['object'].get('reason')}")
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
        except _BAD_ANSWER as error:
            raise ApiServerAway(f"watch ended: {error!r:.300}") from error
