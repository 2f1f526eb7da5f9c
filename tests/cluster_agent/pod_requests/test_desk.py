"""The desk, when the API server's answers are lost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from blessings import Blessing
from cluster_agent.callers import certificate_fingerprint
from cluster_agent.errors import Refusal
from cluster_agent.kubernetes.api import ApiCallError
from cluster_agent.kubernetes.pod_requests import VouchingPod
from cluster_agent.pod_requests.desk import Desk, Steps
from cluster_agent.pod_requests.pending import One
from cluster_agent.pod_requests.request import PodRequest
from tests.cluster_agent.pod_requests.test_checks import REQUEST
from tests.cluster_agent.pod_requests.test_signer import Signing


class LosingApi:
    """Takes a status, and its answer gets lost."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = None

    async def guard(self) -> None:
        raise AssertionError("the test's desk does not look")

    async def set_status(self, metadata: dict[str, str], status: dict[str, Any]) -> None:
        if self.status is not None:
            raise ApiCallError("PUT: HTTP 409", 409)
        self.status = status
        raise ApiCallError("PUT: TimeoutError")

    async def read(self, namespace: str, name: str) -> dict[str, Any]:
        return {
            "metadata": {**REQUEST.identity, "creationTimestamp": REQUEST.created_at.isoformat()},
            "status": self.status,
        }


class RefusingApi(LosingApi):
    """Accepts no status, as an API server whose clock differs by more than five minutes from the agent's."""

    async def set_status(self, metadata: dict[str, str], status: dict[str, Any]) -> None:
        raise ApiCallError("PUT /podcertificaterequests/status: HTTP 422", 422)


class Told:
    def __init__(self) -> None:
        self.waits_for: list[str] = []

    def issued(self, request: PodRequest, steps: Steps, pod: VouchingPod | None) -> None: ...

    def denied(self, request: PodRequest, refusal: Refusal) -> None: ...

    def waits(self, request: PodRequest, refusal: Refusal, failures: int) -> None:
        self.waits_for.append(refusal.reason)


@pytest.fixture
async def signing(tmp_path: Path, store_url: str) -> AsyncIterator[Signing]:
    one = Signing(tmp_path, store_url)
    yield one
    await one.store.close()


def guarded(signing: Signing, api: LosingApi, told: Told, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk for which the policy judges every request."""
    desk = Desk(api, signing.store.pod_requests, signing.signer, told, signing.clock)  # type: ignore[arg-type]

    async def judged(*_: object) -> None: ...

    monkeypatch.setattr(desk._guard, "require_judged", judged)
    return desk


async def test_an_answer_that_the_api_server_does_not_take_is_told_as_any_that_waits(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The author of a Pod that hangs sees an Event, and the metrics count it."""
    told = Told()
    desk = guarded(signing, RefusingApi(), told, monkeypatch)
    one = One(REQUEST, time.monotonic())
    for failures in (1, 2):
        assert await desk._turn(one) is not None
        assert one.failures == failures
    assert told.waits_for == ["AnswerNotSet", "AnswerNotSet"]


async def test_an_api_server_that_cannot_be_read_is_told_as_away_and_not_as_one_that_refuses(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    desk = guarded(signing, LosingApi(), told, monkeypatch)

    async def fail(_request: object) -> bool:
        raise ApiCallError("no answer", status=500)

    monkeypatch.setattr(desk, "_answer", fail)
    assert await desk._turn(One(REQUEST, time.monotonic())) is not None
    assert told.waits_for == ["ApiServerAway"]


async def test_a_certificate_that_a_kubelet_may_have_is_not_forgotten_for_a_newer_one(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server has the answer, and is away until that is too old for it. A revocation of the Pod must
    include the certificate."""
    api = LosingApi()
    desk = guarded(signing, api, Told(), monkeypatch)
    one = One(REQUEST, time.monotonic())
    assert await desk._turn(one) is not None
    assert api.status is not None
    leaf = certificate_fingerprint(Blessing.from_pem(api.status["certificateChain"]))
    signing.clock.turn(minutes=5)
    assert await desk._turn(one) is None
    assert await signing.store.issuances.with_secret(leaf) is not None
