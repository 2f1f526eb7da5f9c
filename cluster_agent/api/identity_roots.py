"""The routes by which administrators see the phases of the identity roots, and take steps by hand."""

from __future__ import annotations

import structlog
from fastapi import APIRouter
from pydantic import Field

from cluster_agent.api.contract import Answer, Body, Rfc3339, refuses
from cluster_agent.api.request_callers import Authenticated, CallerFirst
from cluster_agent.callers import Administrators, Caller, require_administrator
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.roots.rotation import Phase

_log = structlog.get_logger("cluster_agent")


class RootStep(Body):
    key: str = Field(max_length=128, description="fingerprint of the root's key, as in the answer to GET")
    force: bool = Field(default=False, description="even if this may cut off replicas")


class RootPhase(Answer):
    """A root, and what its next phase waits for."""

    key: str = Field(description="fingerprint")
    phase: Phase
    since: Rfc3339
    not_after: Rfc3339
    active_at_the_latest: Rfc3339 | None = Field(default=None, description="of one that is prepared")
    gone_at: Rfc3339 | None = Field(default=None, description="of one that retires")
    live_replicas: int | None = None
    acknowledged: int | None = Field(default=None, description="how many live replicas have it")
    volumes: int | None = Field(
        default=None,
        description="of the live replicas, those to which kubelets bring the root",
    )
    volumes_have_it_at: Rfc3339 | None = Field(
        default=None, description="when kubelets have done so; absent while they cannot read it"
    )
    share_needed: float | None = Field(default=None, description="share of them that must, before it signs")


class IdentityRootsAnswer(Answer):
    version: int
    longest_ttl_seconds: int = Field(description="the longest that replicas' certificates were ever given")
    roots: list[RootPhase]


def root_routes(keeper: RootKeeper, administrators: Administrators) -> APIRouter:
    """`GET /v1/identity-roots`, and `POST` to `/prepare`, `/activate` and `/withdraw` below it."""
    router = APIRouter(prefix="/v1/identity-roots", route_class=CallerFirst)

    async def described() -> IdentityRootsAnswer:
        return IdentityRootsAnswer.model_validate(await keeper.describe())

    @router.get(
        "",
        summary="The identity roots and their phases",
        responses=refuses(401, 403, 404, 503),
        response_model_exclude_none=True,
    )
    async def identity_roots(caller: Authenticated) -> IdentityRootsAnswer:
        """For administrators. These four are served only by an agent that made its root itself."""
        require_administrator(caller, administrators)
        return await described()

    @router.post(
        "/prepare",
        summary="Make the next root, in every bundle from now on",
        responses=refuses(400, 401, 403, 404, 503),
        response_model_exclude_none=True,
    )
    async def prepare_root(caller: Authenticated) -> IdentityRootsAnswer:
        """For administrators. It has no body."""
        require_administrator(caller, administrators)
        await keeper.prepare(by=caller.name)
        _note("prepare", caller)
        return await described()

    @router.post(
        "/activate",
        summary="Sign with a prepared or retiring root from now on",
        responses=refuses(400, 401, 403, 404, 415, 503),
        response_model_exclude_none=True,
    )
    async def activate_root(body: RootStep, caller: Authenticated) -> IdentityRootsAnswer:
        """For administrators."""
        require_administrator(caller, administrators)
        await keeper.activate(body.key, force=body.force, by=caller.name)
        _note("activate", caller, body)
        return await described()

    @router.post(
        "/withdraw",
        summary="Stop recognising a root",
        responses=refuses(400, 401, 403, 404, 415, 503),
        response_model_exclude_none=True,
    )
    async def withdraw_root(body: RootStep, caller: Authenticated) -> IdentityRootsAnswer:
        """For administrators. No peer accepts a certificate below it any longer."""
        require_administrator(caller, administrators)
        await keeper.withdraw(body.key, force=body.force, by=caller.name)
        _note("withdraw", caller, body)
        return await described()

    return router


def _note(step: str, caller: Caller, body: RootStep | None = None) -> None:
    details = {} if body is None else {"key": body.key, "force": body.force}
    _log.info("step of the roots taken by hand", step=step, caller=str(caller.name), **details)
