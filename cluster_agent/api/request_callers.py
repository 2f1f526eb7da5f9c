"""The caller of a request, for routes that need a proven name and for those that do not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from cluster_agent.callers import Administrators, Caller, KnownCallers
from cluster_agent.errors import NotAuthenticated
from cluster_agent.rate_limits import RateLimits
from cluster_agent.server.certificate import Serving
from cluster_agent.server.connections import client_blessing
from cluster_agent.signing.room import SigningRoom


@dataclass
class RequestCallers:
    """Recognises the callers of all requests, and counts them against their limits."""

    serving: Serving
    room: SigningRoom
    administrators: Administrators
    limits: RateLimits
    now: Callable[[], datetime]
    _known: KnownCallers = field(default_factory=KnownCallers)

    def of(self, request: Request) -> Caller:
        """The caller of this request, counted. Raises NotAuthenticated, TooManyRequests."""
        roots = (self.serving.control_plane_roots, self.room.bootstrap_roots, self.room.identity_roots)
        address = address_of(request)
        try:
            caller = self._known.identify(client_blessing(request.scope), roots, self.now())
        except NotAuthenticated:
            self.limits.take_for_address(address)
            raise
        request.state.caller = caller
        administers = self.administrators.allow_secrets(caller)
        self.limits.take_for_caller(caller, address, administers=administers)
        return caller


async def authenticated(request: Request) -> Caller:
    """The caller of this request, counted once. Raises NotAuthenticated, TooManyRequests."""
    known: Caller | None = getattr(request.state, "authenticated", None)
    if known is None:
        callers: RequestCallers = request.app.state.callers
        known = request.state.authenticated = callers.of(request)
    return known


async def anybody(request: Request) -> None:
    """Counts a request of a client without a name, once. Raises TooManyRequests."""
    if not getattr(request.state, "counted", False):
        request.state.counted = True
        callers: RequestCallers = request.app.state.callers
        callers.limits.take_for_address(address_of(request))


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
