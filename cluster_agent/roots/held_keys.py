"""The keys that are here, in step with the phases of the roots: which roots can sign here, which root is the
next, and which keys are deleted because their roots are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog
from cryptography import x509

from blessings import Authority
from cluster_agent.audit import Record
from cluster_agent.roots.keys import HeldRoot
from cluster_agent.roots.rotation import RootState, RootSuccession

_NOT_HERE = (
    "what signs under it is not here; bring it back, or withdraw the root (POST /v1/identity-roots/withdraw)"
)
_log = structlog.get_logger("cluster_agent")


class Keys(Protocol):
    """The keys that sign under each root here. `needed_at_start`: no agent starts without the active root's
    key."""

    @property
    def makes_keys(self) -> bool: ...

    @property
    def needed_at_start(self) -> bool: ...

    @property
    def why_no_successor(self) -> str: ...

    def held(self) -> dict[str, HeldRoot]: ...

    def make(self, now: datetime) -> Authority: ...

    def to_delete(self, key: str) -> bool: ...

    def delete(self, key: str) -> None: ...

    def why_missing(self, key: str) -> str: ...


@dataclass
class HeldKeys:
    """The keys as last read. Every call may raise DataDirectoryError."""

    keys: Keys
    _held: dict[str, HeldRoot] = field(default_factory=dict)
    _deleting: set[str] = field(default_factory=set)
    # Keys of roots that are gone; each is looked for once.
    _not_here: set[str] = field(default_factory=set)
    # The prepared root that cannot sign here.
    _waiting: str = ""

    async def read(self) -> None:
        """Reads the keys again."""
        self._held = await asyncio.to_thread(self.keys.held)

    async def of(self, key: str) -> HeldRoot | None:
        """What signs here under the root with that key; reads again when it is not known yet."""
        if key not in self._held:
            await self.read()
        return self._held.get(key)

    async def successor(
        self, state: RootSuccession, now: datetime, *, wanted: bool
    ) -> x509.Certificate | None:
        """The next root: one that already exists here, or, when it is wanted and may be made, a new one."""
        if self.keys.makes_keys and not wanted:
            return None
        await self.read()
        known = {*state.gone, *(one.fingerprint for one in state.roots)}
        # A root that was made before a crash, and never recorded, is as good as a new one.
        unused = next((one.certificate for key, one in self._held.items() if key not in known), None)
        if unused is None and self.keys.makes_keys:
            return (await asyncio.to_thread(self.keys.make, now)).certificate
        return unused

    async def can_sign(self, prepared: RootState | None) -> bool:
        """Whether the prepared root, if there is one, can sign here. If not, logs it once for each root."""
        if prepared is not None:
            await self.read()
        if prepared is None or prepared.fingerprint in self._held:
            self._waiting = ""
            return True
        key = prepared.fingerprint
        if self._waiting != key:
            self._waiting = key
            _log.warning("prepared root is not activated", key=key, reason=_NOT_HERE)
        return False

    async def delete_gone(
        self, gone: tuple[str, ...], note: Callable[[Record], Awaitable[None]], now: datetime
    ) -> None:
        """Deletes the keys of former roots, where they may be deleted, and calls `note` with the records of
        it."""
        for key in gone:
            if key in self._not_here:
                continue
            # Both before and after, because a file and the database cannot share a transaction.
            if key not in self._deleting:
                if not await asyncio.to_thread(self.keys.to_delete, key):
                    self._not_here.add(key)
                    continue
                await note(Record("root-key-deleting", now, details={"key": key}))
                self._deleting.add(key)
            await asyncio.to_thread(self.keys.delete, key)
            await note(Record("root-key-deleted", now, details={"key": key}))
            self._held.pop(key, None)
            self._deleting.remove(key)
            self._not_here.add(key)
            _log.info("key of a root deleted", key=key)
