"""The caller of a request, for routes that need a proven name and for those that do not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from cluster_agent.callers import Caller
from cluster_agent.rate_limits import RateLimits


async def authenticated(request: Request) -> Caller:
    """The caller of this request, counted once. Raises NotAuthenticated, TooManyRequests."""
    known: Caller | None = getattr(request.state, "authenticated", None)
    if known is None:
        caller_of: Callable[[Request], Caller] = request.app.state.caller_of
        known = request.state.authenticated = caller_of(request)
    return known


async def anybody(request: Request) -> None:
    """Counts a request of a client without a name, once. Raises TooManyRequests."""
    if not getattr(request.state, "counted", False):
        request.state.counted = True
        limits: RateLimits = request.app.state.limits
        limits.take_for_address(address_of(request))


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


Authenticated = Annotated[Caller, Depends(authenticated)]


class CallerFirst(APIRoute):
    """A route that identifies and counts the caller before it reads the body.

    FastAPI itself reads the body first, so unknown clients could learn how theirs is malformed, any number of
    times.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        first = [one.call for one in self.dependant.dependencies if one.call in (authenticated, anybody)]

        async def handle_known(request: Request) -> Response:
            for demand in first:
                await demand(request)
            return await handle(request)

        return handle_known
