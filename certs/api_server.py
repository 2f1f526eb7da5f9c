"""Calls of the API server by the Kubernetes client, each with an end.

The client itself sets no time limit, and its urllib3 repeats a call that was not answered three times, each
time for the whole limit. Here only the task that called tries again, with a back-off that is logged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from kubernetes import client
from kubernetes.client import rest
from kubernetes.client.exceptions import ApiException

# To connect, and to wait for a byte of the answer.
REQUEST_SECONDS = (5, 10)
WATCH_SECONDS = 240
# Bookmarks come about once a minute: a server that is silent for longer may be gone.
SILENT_SECONDS = 90
# How to call `kubernetes.watch.Watch.stream`: the API server ends the watch in time, and one that is silent
# counts as gone.
WATCH: Mapping[str, Any] = {
    "allow_watch_bookmarks": True,
    "timeout_seconds": WATCH_SECONDS,
    "_request_timeout": (REQUEST_SECONDS[0], SILENT_SECONDS),
}


class AnswerTooLong(Exception):
    """An answer has more bytes than its caller reads."""


class BoundedApiClient(client.ApiClient):
    """A client that makes each call once, for at most `REQUEST_SECONDS` unless the call states another
    limit."""

    def __init__(self, configuration: client.Configuration) -> None:
        configuration.retries = False
        super().__init__(configuration)

    def call_api(
        self,
        method: Any,
        url: Any,
        header_params: Any = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: Any = None,
    ) -> rest.RESTResponse:
        limit = _request_timeout or REQUEST_SECONDS
        return super().call_api(method, url, header_params, body, post_params, limit)

    def json(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        most_bytes: int | None = None,
        accept: str = "application/json",
    ) -> Any:
        """One call, and the JSON of its answer.

        The client's own classes do the same with types, and importing those of the core API alone takes
        80 MiB.

        Raises:
            ApiException: the API server refused.
            ValueError: the answer is no JSON.
            AnswerTooLong: it has more than `most_bytes`.
        """
        response = self._called(method, path, body, content_type, query or {}, None, accept)
        if most_bytes is None:
            return json.loads(response.read())  # type: ignore[no-untyped-call]  # it has no types
        content = response.response.read(most_bytes + 1)
        if len(content) > most_bytes:
            response.response.close()
            raise AnswerTooLong(f"{method} {path}: more than {most_bytes} bytes")
        response.response.release_conn()
        return json.loads(content)

    def events(self, path: str, *, version: str, query: Mapping[str, str] | None = None) -> Iterator[Any]:
        """The events of a watch of the list at `path`, from that resourceVersion on, until the API server
        ends it: at the latest after `WATCH_SECONDS`.

        Raises:
            ApiException: the API server refused, or ended the watch with an error.
            ValueError: an event is no JSON.
        """
        asked = {
            **(query or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
            "resourceVersion": version,
        }
        limit = WATCH["_request_timeout"]
        response = self._called("GET", path, None, "", asked, limit).response
        try:
            rest_of_line = b""
            for chunk in response.stream(amt=None, decode_content=False):
                *lines, rest_of_line = (rest_of_line + chunk).split(b"\n")
                for line in filter(bytes.strip, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiException(status=status.get("code"), reason=status.get("message"))
                    yield event
        finally:
            response.close()

    def _called(
        self,
        method: str,
        path: str,
        body: object,
        content_type: str,
        query: Mapping[str, str],
        limit: Any,
        accept: str = "application/json",
    ) -> rest.RESTResponse:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        request = self.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        response = self.call_api(*request, _request_timeout=limit)
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            text = response.read().decode(errors="replace")  # type: ignore[no-untyped-call]
            raise ApiException.from_response(http_resp=response, body=text, data=None)
        return response
