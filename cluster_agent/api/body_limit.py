"""The limit on request bodies, applied to the bytes that arrive, not to the length in a header."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: reads at most `max_bytes` before the application gets a request, else answers with
    what `refused` returns, and the connection ends."""

    def __init__(self, app: ASGIApp, max_bytes: int, refused: Callable[[Scope], Response]) -> None:
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
                answer = self._refused(scope)
                answer.headers["connection"] = "close"
                await answer(scope, receive, send)
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
