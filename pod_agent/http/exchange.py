"""One request, and the answer to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote

from pod_agent.errors import HttpError

MOST_BODY_BYTES = 64 * 1024
MOST_BODY_SECONDS = 10
_MOST_PARAMETERS = 20


class Request:
    """A request. Of a header or parameter that is repeated, the last one holds.

    Attributes:
        path: decoded, without the query.
        rest: what the `*` of the route stands for.
        end: ends the connection at once.
    """

    def __init__(self, method: str, target: str, headers: Mapping[str, str], end: Callable[[], None]) -> None:
        path, _, query = target.partition("?")
        self.method = method
        self.path = unquote(path)
        self.rest = ""
        self.headers = headers
        self.end = end
        self._query = query
        self._body = bytearray()
        self._complete = asyncio.Event()

    @property
    def parameters(self) -> dict[str, str]:
        try:
            return dict(parse_qsl(self._query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
        except ValueError as error:
            raise HttpError(400, "MalformedRequest", "too many parameters") from error

    @property
    def is_too_long(self) -> bool:
        return len(self._body) > MOST_BODY_BYTES

    async def body(self) -> bytes:
        """Raises HttpError for one that is too long, or does not arrive in time."""
        try:
            async with asyncio.timeout(MOST_BODY_SECONDS):
                await self._complete.wait()
        except TimeoutError as error:
            message = f"the body did not arrive within {MOST_BODY_SECONDS} s"
            raise HttpError(408, "BodyTooSlow", message) from error
        if self.is_too_long:
            raise HttpError(413, "BodyTooLarge", f"a request may have at most {MOST_BODY_BYTES} bytes")
        return bytes(self._body)

    def feed(self, data: bytes) -> None:
        """Takes a part of the body. One that is too long is complete: nothing more of it is wanted."""
        if not self.is_too_long:
            self._body += data
        if self.is_too_long:
            self._complete.set()

    def feed_end(self) -> None:
        self._complete.set()


@dataclass(frozen=True)
class Answer:
    """An answer, whose content is `content` or, part by part, `parts`. It is sent inside of the context
    `during`, which may still refuse it with an HttpError."""

    status: int = 200
    kind: str = ""
    content: bytes = b""
    parts: AsyncGenerator[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    during: AbstractContextManager[None] = field(default_factory=nullcontext)


Handler: TypeAlias = Callable[[Request], Awaitable[Answer]]
"""Answers a request, or raises HttpError."""


def as_json(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, "application/json", content, headers=headers or {})


def refusal(error: HttpError) -> Answer:
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return as_json({"error": {"reason": error.reason, "message": str(error)}}, error.status, headers)


def routed(routes: Mapping[str, Handler]) -> Handler:
    """The handler of a table from `GET /path` to handlers. A path may end with `/*`: one more segment, the
    request's `rest`. Who may GET may ask for the HEAD."""
    paths = {route.partition(" ")[2] for route in routes}

    async def handle(request: Request) -> Answer:
        path = request.path
        if path not in paths:
            parent, _, request.rest = path.rpartition("/")
            path = f"{parent}/*"
        method = "GET" if request.method == "HEAD" else request.method
        if (handler := routes.get(f"{method} {path}")) is not None:
            return await handler(request)
        if path in paths:
            raise HttpError(405, "MethodNotAllowed", f"{request.method} is not served here")
        raise HttpError(404, "NotServed", "there is nothing at this path")

    return handle
