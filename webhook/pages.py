"""A page of the ASGI application: everything that is no review."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import structlog

from webhook.answers import Answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

_log = structlog.stdlib.get_logger("webhook")


class Page(NamedTuple):
    answer: Answer
    headers: bytes
    """Encoded, without the content's length."""


async def page(app: ASGIApp, method: str, url: bytes, headers: list[tuple[bytes, bytes]]) -> Page:
    """The application's answer to a request, whose body it does not get: no page needs one."""
    path, _, query = url.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(path.decode("ascii", "replace")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
    }
    status, lines, content = 500, b"", b""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, lines, content
        if message["type"] == "http.response.start":
            status = message["status"]
            lines = b"".join(
                b"%b: %b\r\n" % (name, value)
                for name, value in message.get("headers", ())
                if name.lower() != b"content-length"
            )
        elif method != "HEAD":
            content += message.get("body", b"")

    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001 - it costs this request, and not the server
        _log.error("page failed", path=scope["path"], exc_info=error)
        return Page(Answer(500, b"Internal Server Error"), b"content-type: text/plain\r\n")
    return Page(Answer(status, content), lines)
