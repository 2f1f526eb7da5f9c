"""The Kubernetes client, whose calls have an end.

The client itself sets no time limit, and its urllib3 repeats a call that was not answered three times, each
time for the whole limit. Here only the task that called tries again, with a back-off that is logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes import client
from kubernetes.client import rest

from certs.api_server import REQUEST_SECONDS, SILENT_SECONDS, WATCH_SECONDS

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
