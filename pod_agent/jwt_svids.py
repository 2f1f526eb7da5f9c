"""The JWT-SVIDs that the cluster agent issued to this Pod, each kept until half of its life.

Clients ask for one before each of their calls. Without this, each would cost the cluster agent a review of
the Pod's token, and the calls of one container could use up the rate by which the Pod renews its identity.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

from blessings import InvalidName, Name
from blessings.jwt.encoding import from_base64url, json_object
from pod_agent.errors import SeekError, Unreachable, Untrustworthy
from pod_agent.identity import Identity
from service.token_bucket import TokenBucket

# A token has at most some kilobytes.
MOST_KEPT = 32
MOST_CALLS = 8
# Half of what the cluster agent takes from a Pod, so that renewals have the rest.
CALLS_PER_SECOND, CALLS_AT_ONCE = 0.5, 10

# The name that a token is for, since an application may get another one, and its audiences.
_Asked: TypeAlias = tuple[Name, tuple[str, ...]]


class JwtSvidSource(Protocol):
    """A source of JWT-SVIDs of this Pod."""

    async def jwt_svid(self, current: Identity, audiences: Sequence[str]) -> str:
        """Raises SeekError."""


class TooManyAsked(SeekError):
    """More JWT-SVIDs were asked for than the cluster agent is asked for."""


@dataclass(frozen=True)
class _Kept:
    name: Name
    token: str
    half: datetime
    expires: datetime


class JwtSvids:
    """`clock` is monotonic, in seconds."""

    def __init__(
        self, source: JwtSvidSource, *, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._source = source
        self._now = now
        self._clock = clock
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()
        self._asking: dict[_Asked, asyncio.Task[_Kept]] = {}
        self._calls = TokenBucket.full(CALLS_PER_SECOND, CALLS_AT_ONCE, clock())

    async def of(self, current: Identity, audiences: Sequence[str]) -> str:
        """A token of `current` for these audiences. While the cluster agent does not answer, it may be one in
        the second half of its life. Raises SeekError."""
        key = tuple(sorted(audiences))
        kept = self._kept.get(key)
        if kept is not None and kept.name == current.name and self._now() < kept.half:
            self._kept.move_to_end(key)
            return kept.token
        try:
            # Clients that ask at the same time share one call, which goes on when one of them leaves.
            return (await asyncio.shield(self._call(current, key))).token
        except (Unreachable, TooManyAsked):
            if kept is not None and kept.name == current.name and self._now() < kept.expires:
                return kept.token
            raise

    def _call(self, current: Identity, key: tuple[str, ...]) -> asyncio.Task[_Kept]:
        asked = current.name, key
        if (asking := self._asking.get(asked)) is not None:
            return asking
        if len(self._asking) >= MOST_CALLS or self._calls.take(self._clock()):
            raise TooManyAsked("TooManyAsked", "too many JWT-SVIDs are asked for; try again")
        task = self._asking[asked] = asyncio.create_task(self._fetch(current, key))
        task.add_done_callback(lambda done: self._done(asked, done))
        return task

    def _done(self, asked: _Asked, task: asyncio.Task[_Kept]) -> None:
        del self._asking[asked]
        if not task.cancelled():
            task.exception()  # nobody may be left to look at it

    async def _fetch(self, current: Identity, key: tuple[str, ...]) -> _Kept:
        asked_at = self._now()
        token = await self._source.jwt_svid(current, key)
        expires = _expiry(token, current.name, key)
        kept = _Kept(current.name, token, asked_at + (expires - asked_at) / 2, expires)
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept


def _expiry(token: str, name: Name, audiences: Sequence[str]) -> datetime:
    """The end of a token that the cluster agent issued. Raises Untrustworthy for one of another name, or for
    other audiences."""
    try:
        claims: Mapping[str, Any] = json_object(from_base64url(token.split(".")[1]))
        subject = Name.from_spiffe_id(claims["sub"])
        expires, ours = datetime.fromtimestamp(claims["exp"], UTC), claims["aud"] == list(audiences)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError, InvalidName) as error:
        raise Untrustworthy("AnswerMalformed", "the JWT-SVID cannot be read") from error
    if subject != name or not ours:
        raise Untrustworthy("OtherName", f"the JWT-SVID is for {subject}, or for other audiences")
    return expires
