"""A fast path for calls that a whole fleet makes all day, without FastAPI's work for each request.

FastAPI's routing, dependencies, response fields and exception handlers would take a third of the time of
issuing. The route is still declared with FastAPI, which handles wrong requests, so their errors are the same
as elsewhere.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cluster_agent.api.body_limit import replaying
from cluster_agent.api.contract import MEDIA_TYPE
from cluster_agent.api.error_answers import is_json
from cluster_agent.api.request_callers import authenticated
from cluster_agent.callers import Caller
from cluster_agent.errors import Refusal


class DirectCalls:
    """ASGI: the good calls of a POST `route` of `app`, whose endpoint takes a `body` and a caller that is
    authenticated. All others go on to `app`. Reads the body at once: a BodyLimit stands before it."""

    def __init__(self, app: FastAPI, route: APIRoute, body: type[BaseModel]) -> None:
        self._app = app
        self._path = route.path
        self._body = body
        self._route = route
        self._refused: Any = app.exception_handlers[Refusal]
        self._failed: Any = app.exception_handlers[Exception]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        # FastAPI sets these too, for code that runs after the request.
        scope["app"], scope["route"] = self._app, self._route
        request = Request(scope, receive)
        try:
            try:
                caller = await authenticated(request)
                sent = await receive()
                asked = self._asked(request, sent["body"])
                answer = None if asked is None else await self._answer(asked, caller)
            except Refusal as refusal:
                answer = await self._refused(request, refusal)
        except Exception as error:
            failure: Response = await self._failed(request, error)
            await failure(scope, receive, send)
            raise  # the server logs it
        if answer is None:
            await self._app(scope, replaying(sent, receive), send)
        else:
            await answer(scope, receive, send)

    async def _answer(self, asked: BaseModel, caller: Caller) -> Response:
        answered: BaseModel = await self._route.endpoint(asked, caller)
        return Response(answered.model_dump_json(by_alias=True), media_type=MEDIA_TYPE)

    def _asked(self, request: Request, body: bytes) -> BaseModel | None:
        """The parsed body; None when it is malformed, or not declared to be JSON."""
        if not is_json(request):
            return None
        try:
            return self._body.model_validate_json(body)
        except ValidationError:
            return None
