"""The route by which administrators search the audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from cluster_agent.api.contract import Answer, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst
from cluster_agent.callers import Administrators, require_administrator
from cluster_agent.store.audit_search import AuditSearch, Place, Wanted

_MOST = 1000
_DAY = timedelta(days=1)
Limit = Annotated[int, Query(ge=1, le=_MOST, description="at most so many")]
_YEAR_9999 = 253_402_300_799  # the last second that Python has
Seconds = Annotated[int | None, Query(ge=0, le=_YEAR_9999, description="seconds since 1970, UTC")]
Act = Annotated[
    str | None, Query(max_length=64, pattern=r"^[a-z-]+$", description="blessing-issued, revoked, refused, …")
]
Named = Annotated[
    str | None,
    Query(max_length=300, pattern=r"^[A-Za-z0-9._:-]+$", description="this name, or what extends it"),
]
Before = Annotated[
    str | None,
    Query(
        max_length=128,
        pattern=r"^[0-9]{1,12}/[0-9]{1,15}/[!-~]+$",
        description="`following` of the previous page",
    ),
]


class RecordAnswer(Answer):
    """A record of the audit."""

    chain: str
    number: int = Field(description="in its chain")
    record: dict[str, Any] = Field(description="act, at (RFC 3339), caller, and what the act was about")


class AuditAnswer(Answer):
    records: list[RecordAnswer] = Field(description="the newest first")
    following: str | None = Field(description="`after` of the next page; null: this is the last")


@dataclass
class Searched:
    """What the route reads."""

    audit: AuditSearch
    administrators: Administrators
    now: Callable[[], datetime]


def audit_routes(searched: Searched) -> APIRouter:
    """`GET /v1/audit`."""
    router = APIRouter(route_class=CallerFirst)

    @router.get("/v1/audit", summary="Search the audit", responses=refuses(400, 401, 403, 503))
    async def audit(
        caller: Authenticated,
        after: Before = None,
        limit: Limit = _MOST,
        since: Seconds = None,
        until: Seconds = None,
        act: Act = None,
        name: Named = None,
        caller_name: Annotated[Named, Query(alias="caller")] = None,
    ) -> AuditAnswer:
        """For administrators, in pages, the newest records first; without `since`, those of the last day. It
        proves nothing: `cluster-agent-audit verify` finds records that were changed or removed."""
        require_administrator(caller, searched.administrators)
        now = searched.now()
        mentions = [f'"act":"{act}"'] if act else []
        mentions += [f'"{text}' for text in (name, caller_name) if text]
        wanted = Wanted(
            since=now - _DAY if since is None else datetime.fromtimestamp(since, UTC),
            until=now + _DAY if until is None else datetime.fromtimestamp(until, UTC),
            mentions=mentions,
        )
        found = await searched.audit.records(wanted, limit=limit + 1, before=_place(after))
        page = [(place, json.loads(text)) for place, text in found[:limit]]
        last = page[-1][0] if len(found) > limit else None
        return AuditAnswer(
            records=[
                RecordAnswer(chain=place.chain, number=place.number, record=record)
                for place, record in page
                if _fits(record, act, name, caller_name)
            ],
            following=None if last is None else f"{last.at}/{last.number}/{last.chain}",
        )

    return router


def _place(after: str | None) -> Place | None:
    if after is None:
        return None
    at, number, chain = after.split("/", 2)
    return Place(int(at), chain, int(number))


def _fits(record: dict[str, Any], act: str | None, name: str | None, caller: str | None) -> bool:
    """Whether the record is meant: the search in the database looks for parts of texts."""
    texts = [value for value in record.values() if isinstance(value, str)]
    return (
        act in (None, record.get("act"))
        and (name is None or any(_extends(text, name) for text in texts))
        and (caller is None or _extends(str(record.get("caller", "")), caller))
    )


def _extends(text: str, name: str) -> bool:
    return f"{text}:".startswith(f"{name}:")
