"""The identity that is served now, as a value, and notification of its changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509

from blessings import Blessing, Name, Principal, Roots
from pod_agent.trust_bundles import TrustBundles


@dataclass(frozen=True)
class Identity:
    """A key, its verified blessing, and the roots for verifying peers. `version` counts from 1. `bundles` is
    what SPIFFE clients get besides."""

    version: int
    principal: Principal
    blessing: Blessing
    name: Name
    roots: Roots
    renew_at: datetime
    bundles: TrustBundles = field(default_factory=TrustBundles)

    @property
    def not_after(self) -> datetime:
        return self.blessing.not_after

    @property
    def whole_roots(self) -> Iterator[tuple[str, x509.Certificate]]:
        """The roots that are trusted for a whole trust domain, each with that domain.

        SPIFFE's bundles and files have no patterns, so their readers would trust a root with a narrower
        pattern for every name.
        """
        for root in self.roots:
            pattern = root.pattern
            if pattern.name is not None and not pattern.exact and len(pattern.name.components) == 1:
                yield pattern.name.trust_domain, root.certificate

    @property
    def own_roots(self) -> list[x509.Certificate]:
        """Those of the own trust domain."""
        return [root for domain, root in self.whole_roots if domain == self.name.trust_domain]


class CurrentIdentity:
    """Holds one identity, and wakes every watcher when it changes or is removed."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._identity: Identity | None = None
        self._bundles: TrustBundles | None = None
        self._lists: tuple[bytes, ...] = ()
        self._revision = 0
        self._changed = asyncio.Condition()
        self._closed = False

    @property
    def value(self) -> Identity | None:
        """The identity to serve; None before the first one and after the last one has expired."""
        identity = self._identity
        return identity if identity is not None and self._now() < identity.not_after else None

    def now(self) -> datetime:
        """The current time, by the clock that decides whether the identity has expired."""
        return self._now()

    async def set(self, identity: Identity | None) -> None:
        async with self._changed:
            if identity is not None and self._bundles is not None:
                identity = replace(identity, bundles=self._bundles)
            self._identity = identity
            self._revision += 1
            self._changed.notify_all()

    async def expire(self) -> Identity | None:
        """Withdraws the identity if it has expired: every `revisions` ends. Returns it, once."""
        expired = self._identity
        if expired is None or self._now() < expired.not_after:
            return None
        await self.set(None)
        return expired

    async def set_lists(self, lists: tuple[bytes, ...]) -> None:
        """Replaces the revocation lists that the Workload API shows, each in DER."""
        async with self._changed:
            self._lists = lists
            self._revision += 1
            self._changed.notify_all()

    async def set_roots(self, roots: Roots) -> None:
        """Replaces the roots for verifying peers, until the next identity brings its own."""
        async with self._changed:
            if self._identity is not None and self._identity.roots != roots:
                self._identity = replace(self._identity, roots=roots)
            self._revision += 1
            self._changed.notify_all()

    async def set_bundles(self, bundles: TrustBundles) -> None:
        """Replaces the bundles of this identity and of those that follow."""
        async with self._changed:
            self._bundles = bundles
            if self._identity is not None:
                self._identity = replace(self._identity, bundles=bundles)
            self._revision += 1
            self._changed.notify_all()

    async def close(self) -> None:
        """Ends every `changes`."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def changes(self, after: int = 0) -> AsyncIterator[Identity]:
        """The current identity, if its version is above `after`, then each later one, until `close`."""
        seen = after
        while (identity := await self._next(seen)) is not None:
            seen = identity.version
            yield identity

    async def revisions(self) -> AsyncIterator[tuple[Identity, tuple[bytes, ...]]]:
        """The current identity and revocation lists, again whenever one of them changes, until the identity
        expires or `close`."""
        seen = -1
        while True:
            async with self._changed:
                while not self._closed and self._revision == seen:
                    await self._changed.wait()
                seen, identity = self._revision, self.value
                if self._closed or identity is None:
                    return
                lists = self._lists
            yield identity, lists

    async def other_than(self, seen: Identity | None) -> Identity:
        """The current identity, as soon as it is not `seen` itself."""
        async with self._changed:
            while (identity := self.value) is None or identity is seen:
                await self._changed.wait()
            return identity

    async def _next(self, after: int) -> Identity | None:
        async with self._changed:
            while not self._closed:
                identity = self.value
                if identity is not None and identity.version > after:
                    return identity
                await self._changed.wait()
        return None
