"""Who makes a request, for the routes that demand to know, and for those that anybody may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from cluster_agent.callers import Caller
from cluster_agent.rate_limits import RateLimits


async def authenticated(request: Request) -> Caller:
    """The caller of this request. Raises NotAuthenticated."""
    caller_of: Callable[[Request], Caller] = request.app.state.caller_of
    return caller_of(request)


async def anybody(request: Request) -> None:
    """Counts a request of somebody without a name. Raises TooManyRequests."""
    limits: RateLimits = request.app.state.limits
    limits.take_for_address(address_of(request))


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


Authenticated = Annotated[Caller, Depends(authenticated)]
