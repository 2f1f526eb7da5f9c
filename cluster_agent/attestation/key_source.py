"""The keys of a token issuer, from its published key set (RFC 7517)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from cluster_agent.attestation import TokenRefused
from cluster_agent.attestation.key_documents import Unreadable
from cluster_agent.errors import TooManyRequests, Unavailable
from cluster_agent.fair_queue import Tenant

_REFRESH_SECONDS = 30
# For the whole key set, however slowly it arrives.
READ_SECONDS = 5.0
MOST_WAITING = 256
MOST_WAITING_OF_ONE = 64
# The members that make a public key. The other members state its use, and are malformed in some key sets.
_MATERIAL = ("kty", "n", "e", "crv", "x", "y")

_log = structlog.get_logger("cluster_agent")


class KeySource:
    """The issuer's key set, which `read` gets from `location`, and reads again when a token names an unknown
    key.

    It is read every 30 s at most, so that forged key identifiers cause no flood of requests. Reading takes up
    to `seconds`, and a limited number of tokens waits for it, in all and of one tenant.
    """

    def __init__(
        self,
        location: str,
        read: Callable[[], Awaitable[str]],
        now: Callable[[], datetime],
        seconds: float = READ_SECONDS,
    ) -> None:
        self._location = location
        self._seconds = seconds
        self._read_document = read
        self._now = now
        self._keys: dict[str, Key] = {}
        self._read_at: datetime | None = None
        self._reading = asyncio.Lock()
        # By the first part of the tenant.
        self._waiting: Counter[Tenant] = Counter()

    @property
    def waiting(self) -> int:
        return self._waiting.total()

    async def key(self, key_id: str, tenant: Tenant = ()) -> Key:
        """The key with that identifier.

        Raises TokenRefused when the issuer has no such key, Unavailable when the key set cannot be read, and
        TooManyRequests when too many tokens wait for it.
        """
        if key_id not in self._keys:
            await self._look_for(key_id, tuple(tenant[:1]))
        if not self._keys:
            raise Unavailable("KeySetUnavailable", f"the key set {self._location} could not be read yet")
        if key_id not in self._keys:
            raise TokenRefused(
                "TokenNotAuthenticated", "the token is signed by a key that its issuer does not have"
            )
        return self._keys[key_id]

    async def refresh(self) -> None:
        """Reads the key set now, so that a key that the issuer has withdrawn is no longer accepted. Raises
        Unavailable; then the keys stay as they are."""
        async with self._reading:
            self._read_at = self._now()
            self._keys = await self._read()

    async def _look_for(self, key_id: str, of: Tenant) -> None:
        if self.waiting >= MOST_WAITING or self._waiting[of] >= MOST_WAITING_OF_ONE:
            raise TooManyRequests(
                "AttestationBusy",
                f"{self.waiting} tokens wait for the issuer's keys; try again",
                limit="token-reviews",
            )
        self._waiting[of] += 1
        try:
            # A call that arrives while the key set is being read waits here, and then finds the key.
            async with self._reading:
                if key_id not in self._keys and self._may_read():
                    self._read_at = self._now()
                    self._keys = await self._read()
        finally:
            self._waiting[of] -= 1
            if not self._waiting[of]:
                del self._waiting[of]

    def _may_read(self) -> bool:
        return self._read_at is None or abs((self._now() - self._read_at).total_seconds()) >= _REFRESH_SECONDS

    async def _read(self) -> dict[str, Key]:
        try:
            async with asyncio.timeout(self._seconds):
                document = await self._read_document()
        except TimeoutError as error:
            raise Unavailable(
                "KeySetUnavailable", f"the key set {self._location} did not come within {self._seconds:g} s"
            ) from error
        except Unreadable as error:
            raise Unavailable(
                "KeySetUnavailable", f"cannot read the key set {self._location}: {error}"
            ) from error
        try:
            return keys_of(document)
        except (ValueError, RecursionError) as error:
            raise Unavailable(
                "KeySetUnavailable", f"there is no key set at {self._location}: {error}"
            ) from error


def keys_of(document: str) -> dict[str, Key]:
    """The keys of a key set, by their identifiers.

    Malformed keys and keys of an unknown kind are ignored and logged (RFC 7517, section 5). Raises ValueError
    when none is left.
    """
    found = json.loads(document)
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it has no list of keys")  # noqa: TRY004 - like every other malformed key set
    keys = {}
    for entry in entries:
        try:
            key_id, key = _key_of(entry)
        except (JoseError, ValueError, LookupError, TypeError, AttributeError) as error:
            _log.warning("key of the issuer left out", error=f"{type(error).__name__}: {error!s:.300}")
        else:
            keys[key_id] = key
    if not keys:
        raise ValueError("none of its keys can be used")
    return keys


def _key_of(entry: Any) -> tuple[str, Key]:
    key_id = entry["kid"]
    if not isinstance(key_id, str) or entry.get("use", "sig") != "sig":
        raise ValueError("it has no identifier, or is not for signatures")
    return key_id, JWKRegistry.import_key({name: entry[name] for name in _MATERIAL if name in entry})
