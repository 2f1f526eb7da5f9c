"""Calls of the API server, each with an end.

The Kubernetes client's package, which does the same, takes a seventh of the webhook's memory. Here a call is
made once: the task that called tries again, with a back-off that is logged.
"""

from __future__ import annotations

import json
import ssl
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

# To connect, and to wait for a byte of the answer.
REQUEST_SECONDS = (5.0, 10.0)
WATCH_SECONDS = 240
# Bookmarks come about once a minute: a server that is silent for longer may be gone.
SILENT_SECONDS = 90.0


class AnswerTooLong(Exception):
    """An answer has more bytes than its caller reads."""


class ApiServerRefusal(Exception):
    """The API server refused a call, or ended a watch with an error.

    Attributes:
        status: the HTTP status.
        reason: its phrase, or the watch's message.
    """

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


# What a call raises when the API server refuses, or cannot be reached.
API_SERVER_ERRORS = (ApiServerRefusal, httpx.HTTPError, OSError)


def _nobody() -> None:
    return None


@dataclass(frozen=True)
class Access:
    """The way to an API server.

    `authorization` returns the header's value, read anew for each call: the kubelet rotates the token.
    `server_name` is the name that the server's certificate must have, where that is not the host's.
    """

    url: str
    context: ssl.SSLContext | None = None
    authorization: Callable[[], str | None] = _nobody
    server_name: str | None = None
    proxy: str | None = None


class BoundedApiClient:
    """A client that makes each call once, for at most `REQUEST_SECONDS` between two bytes. Safe for
    threads."""

    def __init__(self, access: Access) -> None:
        self._access = access
        context = access.context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client = httpx.Client(
            base_url=access.url,
            verify=context,
            proxy=access.proxy,
            trust_env=False,
            # Each watch and each task has one; they bound their number themselves.
            limits=httpx.Limits(max_connections=None),
        )
        # The connections end with this object, as long as the program runs.
        weakref.finalize(self, self._client.close).atexit = False

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

        Raises:
            ApiServerRefusal: the API server refused.
            ValueError: the answer is no JSON.
            AnswerTooLong: it has more than `most_bytes`.
        """
        content = bytearray()
        with self._called(method, path, body, content_type, query, REQUEST_SECONDS[1], accept) as response:
            _check(response)
            for part in response.iter_raw():
                content += part
                if most_bytes is not None and len(content) > most_bytes:
                    raise AnswerTooLong(f"{method} {path}: more than {most_bytes} bytes")
        return json.loads(content)

    def events(self, path: str, *, version: str, query: Mapping[str, str] | None = None) -> Iterator[Any]:
        """The events of a watch of the list at `path`, from that resourceVersion on, until the API server
        ends it: at the latest after `WATCH_SECONDS`.

        Raises:
            ApiServerRefusal: the API server refused, or ended the watch with an error.
            ValueError: an event is no JSON.
        """
        asked = {
            **(query or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
            "resourceVersion": version,
        }
        with self._called("GET", path, None, "", asked, SILENT_SECONDS) as response:
            _check(response)
            rest_of_line = b""
            for chunk in response.iter_raw():
                *lines, rest_of_line = (rest_of_line + chunk).split(b"\n")
                for line in filter(bytes.strip, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiServerRefusal(status.get("code") or 0, str(status.get("message") or ""))
                    yield event

    def _called(
        self,
        method: str,
        path: str,
        body: object,
        content_type: str,
        query: Mapping[str, str] | None,
        seconds: float,
        accept: str = "application/json",
    ) -> AbstractContextManager[httpx.Response]:
        # Compressed, a short answer could become a very long one.
        headers = {"accept": accept, "accept-encoding": "identity"}
        if body is not None:
            headers["content-type"] = content_type
        if (authorization := self._access.authorization()) is not None:
            headers["authorization"] = authorization
        name = self._access.server_name
        return self._client.stream(
            method,
            path,
            params=dict(query or {}),
            content=None if body is None else json.dumps(body).encode(),
            headers=headers,
            timeout=httpx.Timeout(seconds, connect=REQUEST_SECONDS[0], pool=REQUEST_SECONDS[0]),
            extensions={} if name is None else {"sni_hostname": name},
        )


def _check(response: httpx.Response) -> None:
    if not HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES:
        response.read()  # a short one, after which the connection serves the next call
        raise ApiServerRefusal(response.status_code, response.reason_phrase)
