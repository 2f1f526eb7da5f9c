"""Long answers, whose bytes all their readers share. The number of readers is limited, of all such answers
together."""

from __future__ import annotations

from fastapi import Response
from starlette.types import Receive, Scope, Send

from cluster_agent.errors import TooManyRequests
from service.shared_answers import ReaderLimits, Readers, parts_of

_LIMITS = ReaderLimits(most=64, most_from_address=8, most_kept_bytes=64 << 20)


def shared_readers() -> Readers:
    """The readers of one agent's long answers."""
    return Readers(_LIMITS, _too_many_readers)


class SharedAnswer(Response):
    """An answer whose bytes all its readers share."""

    def __init__(
        self, content: bytes, readers: Readers, *, media_type: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        self._content = content
        self._readers = readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """May raise TooManyRequests, before the answer begins."""
        content = self._content
        self.headers["content-length"] = str(len(content))
        await self._readers.send(scope, send, (content,), parts_of(content), self.headers)


def _too_many_readers() -> TooManyRequests:
    return TooManyRequests(
        "TooManyReaders", "too many clients read answers of this size now; try again", limit="readers"
    )
