"""The route of replicas: `POST /v1/seek-blessings`."""

from __future__ import annotations

import time

import structlog
from fastapi import APIRouter
from pydantic import Field

from blessings.encoding.times import rfc3339
from cluster_agent.api.contract import Answer, Body, Rfc3339, RootAnswer, refuses, roots_of
from cluster_agent.api.request_callers import Authenticated, CallerFirst
from cluster_agent.issuing.replica_issuer import ReplicaIssuer
from cluster_agent.monitoring.metrics import SEEK_BLESSINGS, Metrics

_log = structlog.get_logger(__name__)


class SeekBlessingsRequest(Body):
    csr: str = Field(max_length=8192, description="PKCS #10 in PEM; only its key is used")
    token: str = Field(default="", max_length=32768, description="service-account token bound to the pod")
    ttl_seconds: int | None = Field(default=None, ge=1, le=2**31, description="asks for a shorter life")


class BlessingAnswer(Answer):
    chain: str = Field(description="PEM, the replica's certificate first, without the root")
    roots: list[RootAnswer] = Field(description="to verify peers")
    not_after: Rfc3339
    renew_at: Rfc3339 = Field(description="half of its life; add a random time of your own")


def blessing_routes(issuer: ReplicaIssuer, metrics: Metrics) -> APIRouter:
    """`POST /v1/seek-blessings`, timed by `metrics`."""
    router = APIRouter(route_class=CallerFirst)

    @router.post(
        SEEK_BLESSINGS,
        summary="Have a key blessed with the caller's pod name",
        responses=refuses(400, 401, 403, 415, 503),
    )
    async def seek_blessings(body: SeekBlessingsRequest, caller: Authenticated) -> BlessingAnswer:
        """For pods. The first call presents the bootstrap credential of their application as client
        certificate, later calls present the current replica certificate; each call has a new key and a token
        of the pod."""
        started = time.perf_counter()
        issued = await issuer.seek_blessings(caller, body.csr, body.token, body.ttl_seconds)
        metrics.issued(time.perf_counter() - started)
        not_after = rfc3339(issued.blessing.not_after)
        _log.info(
            "blessing issued",
            name=str(issued.name),
            renewal=not caller.holds_bootstrap_credential,
            notAfter=not_after,
        )
        return BlessingAnswer(
            chain=issued.blessing.to_pem(),
            roots=roots_of(issuer.room),
            not_after=not_after,
            renew_at=rfc3339(issued.renew_at),
        )

    return router
