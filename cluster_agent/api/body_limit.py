"""The limit on request bodies, applied to the bytes that arrive, not to the length in a header."""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: reads at most `max_bytes` before the application gets a request, else answers 413.

    `refused` is called for each refused request.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, refused: Callable[[Scope], None]) -> None:
        self._app = app
        self._refused = refused
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                self._refused(scope)
                await _too_large(send, self._max_bytes)
                return
            if not message.get("more_body", False):
                break
        whole = {"type": "http.request", "body": bytes(body), "more_body": False}
        await self._app(scope, replaying(whole, receive), send)


def replaying(message: Message, receive: Receive) -> Receive:
    """A `receive` that first returns `message` again."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return message

    return replay


async def _too_large(send: Send, max_bytes: int) -> None:
    error = {"error": {"reason": "BodyTooLarge", "message": f"a request may have {max_bytes} bytes"}}
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(error).encode()})
