"""The desk: follows the requests at the API server, has each answered, and sets its status.

Several replicas of the agent each follow all requests, and hold those that they work on in the store. A
status is set with the version of the request that it was made for, so that of two only one is accepted. What
cannot be answered now is tried again until the request is gone.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from cluster_agent.errors import KeyReused, Refusal, Unavailable
from cluster_agent.kubernetes.api import ApiCallError
from cluster_agent.kubernetes.pod_requests import PodRequestApi, VouchingPod
from cluster_agent.kubernetes.watched import NotServed
from cluster_agent.pod_requests import status
from cluster_agent.pod_requests.guard import Guard
from cluster_agent.pod_requests.pending import One, Pending
from cluster_agent.pod_requests.request import PodRequest, Unreadable, is_answered
from cluster_agent.pod_requests.signer import PodRequestSigner, is_final
from cluster_agent.store.pod_requests import HELD, PodRequests
from service.supervisor import BackOff

_log = structlog.get_logger("cluster_agent")

AT_A_TIME = 64
# How often to look whether the API server has learnt of the resource.
NOT_SERVED_SECONDS = 600.0
_BACK_OFF = BackOff(1.0, 60.0)
_CONFLICTS = 3
_FORGOTTEN_AT_ONCE = 500


@dataclass(frozen=True)
class Steps:
    """The seconds since a request was first seen here until it was signed, and until its status was set."""

    signed: float
    answered: float


class DeskWatch(Protocol):
    """Told how each request ended, or why it waits. `failures` are those in a row."""

    def issued(self, request: PodRequest, steps: Steps, pod: VouchingPod | None) -> None:
        """`pod` is None when an earlier program, or another replica of the agent, had signed."""

    def denied(self, request: PodRequest, refusal: Refusal) -> None: ...

    def waits(self, request: PodRequest, refusal: Refusal, failures: int) -> None: ...


class Desk:
    """Answers requests, at most AT_A_TIME of them at once."""

    def __init__(
        self,
        api: PodRequestApi,
        store: PodRequests,
        signer: PodRequestSigner,
        watch: DeskWatch,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._store = store
        self._signer = signer
        self._watch = watch
        self._now = now
        self.pending = Pending(AT_A_TIME)
        self._ended: set[str] = set()
        self._guard = Guard(api.guard)
        self._guarded = asyncio.Event()
        self._was_served: bool | None = None

    async def follow(self) -> float | None:
        """Lists the requests, then watches until the watch ends. Returns when to look again, where the API
        server does not have them at all. Raises ApiServerAway."""
        uids: set[str] = set()
        version = ""
        try:
            async for items, version in self._api.pages():  # noqa: B007 - the last one counts
                uids.update(uid for one in items if (uid := self._see(one)) is not None)
        except NotServed:
            self._api.age.rest()
            self._say(served=False)
            return NOT_SERVED_SECONDS
        self._say(served=True)
        self.pending.keep_only(uids)
        async for kind, found in self._api.events(version):
            if kind == "DELETED":
                metadata = found["metadata"]
                self.pending.forget(metadata["namespace"], metadata["uid"])
            else:
                self._see(found)
        return None

    async def check_guard(self) -> None:
        """Lets requests be signed as long as the API server's policy guards them. Raises Unavailable where it
        does not."""
        if self._was_served is False:
            return
        self._guarded.clear()
        await self._guard.require()
        self._guarded.set()

    async def work(self) -> None:
        """Answers what is pending, until it is cancelled. A turn that fails is put off, and ends no other."""
        free = asyncio.Semaphore(AT_A_TIME)
        turns: dict[asyncio.Task[float | None], One] = {}

        def end(turn: asyncio.Task[float | None]) -> None:
            self._end_turn(turns.pop(turn), turn)
            free.release()

        try:
            while True:
                await free.acquire()
                await self._guarded.wait()
                one = await self.pending.take()
                turn = asyncio.create_task(self._turn(one))
                turns[turn] = one
                turn.add_done_callback(end)
        finally:
            for turn in tuple(turns):
                turn.cancel()

    async def forget_ended(self) -> None:
        """Removes what the store has of requests whose answers the API server has. May raise Unavailable."""
        while self._ended:
            some = [self._ended.pop() for _ in range(min(len(self._ended), _FORGOTTEN_AT_ONCE))]
            try:
                await self._store.answered(some)
            except Exception:
                self._ended.update(some)
                raise

    def _see(self, found: dict[str, Any]) -> str | None:
        """Notes a request as it is now; returns its UID while it has no answer."""
        try:
            request = PodRequest.of(found)
        except Unreadable as error:
            _log.warning("PodCertificateRequest not read", error=str(error))
            return None
        if is_answered(found):
            self.pending.forget(request.namespace, request.uid)
            return None
        self.pending.see(request)
        return request.uid

    async def _turn(self, one: One) -> float | None:
        """As `_answer`, when a refusal or an error of the API server only puts the request off."""
        try:
            return await self._answer(one)
        except Refusal as error:
            refusal = error
        except ApiCallError as error:
            refusal = Unavailable("ApiServerAway", str(error))
        wait = self._pause(one, refusal.retry_after_seconds)
        self._watch.waits(one.request, refusal, one.failures)
        return wait

    def _end_turn(self, one: One, turn: asyncio.Task[float | None]) -> None:
        self.pending.end_turn(one)
        if turn.cancelled():
            wait: float | None = 0.0
        elif error := turn.exception():
            _log.error("PodCertificateRequest not answered", **_fields(one.request), exc_info=error)
            wait = self._pause(one, None)
        else:
            wait = turn.result()
        if wait is None:
            self.pending.forget(one.request.namespace, one.request.uid)
        else:
            self.pending.put_off(one, wait)

    async def _answer(self, one: One) -> float | None:
        """None when the request has its answer, or is gone; otherwise the seconds to the next try. Raises
        Refusal, ApiCallError."""
        request = one.request
        await self._guard.require_judged(request, one.seen_at)
        held = await self._store.hold(request.uid, self._now(), request.tenant)
        if not held.held:
            return HELD.total_seconds() * (0.5 + random.random() / 2)  # noqa: S311 - no secret
        answer = None if held.status is None else json.loads(held.status)
        pod: VouchingPod | None = None
        is_outdated = answer is not None and status.is_outdated(answer, self._now())
        if is_outdated and await self._is_over(request):
            # Its kubelet may have the certificate: a newer one would take its place here.
            self._ended.add(request.uid)
            return None
        try:
            if answer is None or is_outdated:
                replaces = answer is not None
                made = await self._signer.answer(request, replaces=replaces)
                answer, pod = json.loads(made.status), made.pod
        except KeyReused as refusal:
            # Another replica of the agent may have recorded an answer since.
            if (await self._store.hold(request.uid, self._now(), request.tenant)).status is not None:
                return 1.0
            await self._deny(request, refusal)
            return None
        except Refusal as refusal:
            if not is_final(refusal):
                raise
            await self._deny(request, refusal)
            return None
        signed = time.monotonic() - one.seen_at
        if await self._set(request, answer):
            self._watch.issued(request, Steps(signed, time.monotonic() - one.seen_at), pod)
        self._ended.add(request.uid)
        return None

    async def _is_over(self, request: PodRequest) -> bool:
        """Whether the request has its answer at the API server, or is gone. Raises ApiCallError."""
        try:
            found = await self._api.read(request.namespace, request.name)
        except ApiCallError as error:
            if error.status == 404:
                return True
            raise
        return is_answered(found) or (found.get("metadata") or {}).get("uid") != request.uid

    async def _deny(self, request: PodRequest, refusal: Refusal) -> None:
        if await self._set(request, status.denied(refusal, self._now())):
            _log.info("PodCertificateRequest denied", **_fields(request), reason=refusal.reason)
            self._watch.denied(request, refusal)
        self._ended.add(request.uid)

    async def _set(self, request: PodRequest, answer: status.Status) -> bool:
        """Sets the status; returns False for a request that is gone, or that another replica has answered.
        Raises Unavailable, and ApiCallError where it cannot be read again."""
        for _ in range(_CONFLICTS):
            try:
                await self._api.set_status(request.identity, answer)
            except ApiCallError as error:
                if error.status == 404:
                    return False
                if error.status != 409:
                    raise _not_set(request, str(error), error.status) from error
            else:
                return True
            try:
                found = await self._api.read(request.namespace, request.name)
                current = PodRequest.of(found)
            except Unreadable:
                return False
            except ApiCallError as error:
                if error.status == 404:
                    return False
                raise
            if current.uid != request.uid or is_answered(found):
                return False
            request = current
        raise _not_set(request, "the request changes again and again")

    def _pause(self, one: One, asked: float | None) -> float:
        one.failures += 1
        return _BACK_OFF.pause(one.failures, random.random(), asked)  # noqa: S311 - no secret

    def _say(self, *, served: bool) -> None:
        if served == self._was_served:
            return
        self._was_served = served
        if served:
            _log.info("PodCertificateRequests are signed")
        else:
            _log.warning(
                "the API server does not serve PodCertificateRequests of certificates.k8s.io/v1 (Kubernetes "
                "1.37 does by default): no pod gets its certificate by a volume; looking again",
                seconds=NOT_SERVED_SECONDS,
            )


def _not_set(request: PodRequest, error: str, status: int | None = None) -> Unavailable:
    _log.warning("status of a PodCertificateRequest not set", **_fields(request), error=error)
    # 422: by its clock, the certificate begins too long ago, or in the future.
    hint = "; compare the clocks of both" if status == 422 else ""
    return Unavailable(
        "AnswerNotSet",
        f"the API server does not take the cluster agent's answer: {error}{hint}",
        retry_after_seconds=1,
    )


def _fields(request: PodRequest) -> dict[str, str]:
    return {"namespace": request.namespace, "pod": request.pod_name, "request": request.name}
