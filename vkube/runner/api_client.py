"""The Kubernetes client, whose calls have an end.

The client itself sets no time limit, and its urllib3 repeats a call that was not answered three times, each
time for the whole limit. Here only the task that called tries again, with a back-off that is logged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client import rest
from kubernetes.client.exceptions import ApiException

from certs.api_server import REQUEST_SECONDS, SILENT_SECONDS, WATCH_SECONDS

# What a call raises that the API server refused, or did not answer.
FAILURES = (ApiException, urllib3.exceptions.HTTPError, OSError)
# How to call `kubernetes.watch.Watch.stream`: the API server ends the watch in time, and one that is silent
# counts as gone.
WATCH: Mapping[str, Any] = {
    "allow_watch_bookmarks": True,
    "timeout_seconds": WATCH_SECONDS,
    "_request_timeout": (REQUEST_SECONDS[0], SILENT_SECONDS),
}


class TypedApiClient(client.ApiClient):
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


class ignoring:  # noqa: N801 - reads as contextlib's suppress
    """Ignores answers with these status codes."""

    def __init__(self, *statuses: HTTPStatus) -> None:
        self._statuses = statuses

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, ApiException) and error.status in self._statuses


def brief(error: Exception) -> str:
    """The status and the reason. What a proxy answers may be plain text instead of a Status."""
    if not isinstance(error, ApiException):
        return type(error).__name__
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, TypeError, KeyError):
        message = str(error.body or error.reason)[:200]
    return f"{error.status} {message}"
