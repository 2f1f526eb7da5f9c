"""The withdrawal of entitlements: an application whose namespace lost its label, or whose service account was
deleted, no longer has an identity, so the certificates in its Pods' volumes are revoked.

The webhook forgets bootstrap credentials in the same cases. It knows of no volumes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import structlog

from cluster_agent.audit import Record
from cluster_agent.model import Secret
from cluster_agent.store.entitlements import Entitlements
from cluster_agent.store.revocations import Revocations

# A thousand applications take a minute, and the API server answers few calls of ours meanwhile.
_PAUSE_SECONDS = 0.05

_log = structlog.get_logger("cluster_agent")


class Vouching(Protocol):
    """What the API server knows. Every call may raise Unavailable."""

    async def lacks_label(self, namespace: str) -> bool: ...

    async def lacks_service_account(self, namespace: str, name: str) -> bool: ...


class Withdrawal:
    """Looks after the applications that have certificates in volumes."""

    def __init__(
        self,
        entitlements: Entitlements,
        revocations: Revocations,
        vouchers: Vouching,
        revoked: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`revoked` is called when certificates were revoked."""
        self._entitlements = entitlements
        self._revocations = revocations
        self._vouchers = vouchers
        self._revoked = revoked
        self._now = now
        self._sleep = sleep
        self._looked_at = ("", "")

    async def look(self) -> None:
        """One round, which begins behind the application that was looked at last. Raises Unavailable: an API
        server that does not answer withdraws nothing."""
        labelled = set[str]()
        found = {
            (one.application.namespace, one.application.service_account): one
            for one in await self._entitlements.in_use(self._now())
        }
        for place in sorted(found, key=lambda place: (place <= self._looked_at, place)):
            one, (namespace, account) = found[place], place
            self._looked_at = place
            # Asked again for each application of a namespace without the label, which may have it again.
            if namespace not in labelled and await self._vouchers.lacks_label(namespace):
                await self._withdraw(one, "NamespaceNotLabelled")
            else:
                labelled.add(namespace)
                if await self._vouchers.lacks_service_account(namespace, account):
                    await self._withdraw(one, "ServiceAccountGone")
            await self._sleep(_PAUSE_SECONDS)

    async def _withdraw(self, entitlement: Secret, why: str) -> None:
        now, application = self._now(), entitlement.application
        record = Record(
            "secret-forgotten",
            now,
            details={
                "id": entitlement.id,
                "revoked": True,
                "why": why,
                "namespace": application.namespace,
                "serviceAccount": application.service_account,
            },
        )
        done = await self._revocations.revoke_secret(entitlement.id, now, record)
        if done.certificates:
            _log.info(
                "certificates in volumes revoked",
                application=str(application),
                reason=why,
                certificates=done.certificates,
            )
            await self._revoked()
