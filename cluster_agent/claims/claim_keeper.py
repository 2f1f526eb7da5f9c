"""The keeper of the claim: makes an unclaimed agent a claimed one, once, on every replica.

An administrator may claim the agent with the code in the file that the agent's owner mounted. In the original
Vanadium, the first client to call could claim it; between an agent's start and its owner's claim, that could
be any client that reaches the port.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from blessings import Authority, Blessing, Name, Roots, fingerprint
from blessings.keys import check_public_key
from cluster_agent.audit import Record
from cluster_agent.callers import Administrators, certificate_fingerprint, warn_of_overlap
from cluster_agent.claims.claim import Claim, check_claim, read_claim, renewed_claim
from cluster_agent.errors import Conflict, Forbidden, StoreError, Unavailable
from cluster_agent.flags import setting
from cluster_agent.signing.room import IdentityAuthority, SigningRoom
from cluster_agent.signing.signed_text import is_signed, signature_of
from cluster_agent.store.documents import Document, SignedDocument
from service.errors import SettingsError

LEAST_CODE_CHARACTERS = 32
_LONGEST_CODE_BYTES = 4096
_log = structlog.get_logger(__name__)


@dataclass
class ClaimKeeper:
    """The claim of one agent. `trust` is called with the root's certificate once there is one."""

    prefix: Name
    room: SigningRoom
    administrators: Administrators
    records: Document
    longest_ttl: timedelta
    code_file: Path | None
    trust: Callable[[Roots], None]
    now: Callable[[], datetime]

    def __post_init__(self) -> None:
        self.csr = self.room.issuing.csr().public_bytes(Encoding.PEM).decode()

    @property
    def waits(self) -> str | None:
        """The reason why the agent is not ready, if that is the missing claim."""
        if self.room.kind != "unclaimed":
            return None
        return "unclaimed: it waits for an administrator, vkube claim-cluster-agent"

    async def start(self) -> None:
        """Reads the claim in the store, and follows it. Raises StoreError, SettingsError."""
        claimed = await self._stored()
        if not self.room.claimable:
            if claimed is not None:
                raise StoreError(
                    "this store's cluster agent was claimed by an administrator; start it with "
                    "--claim required and its own keys, or use another store"
                )
            return
        if claimed is not None:
            self._take_up(claimed)
            return
        try:
            self._code()
        except Unavailable as error:
            raise SettingsError(f"{setting('claim_code_file')}: {error}") from error
        _log.warning(
            "unclaimed, nothing is issued",
            prefix=str(self.prefix),
            issuingKey=fingerprint(self.room.issuing.public_key),
        )

    async def look(self) -> None:
        """Follows a claim or a chain that another replica received. Raises StoreError, Unavailable."""
        if not self.room.claimable:
            return
        claimed = await self._stored()
        if claimed is None:
            return
        if self.waits:
            self._take_up(claimed)
        elif claimed.chain != self.room.identity.signing.blessing:
            self._sign_with(claimed)

    async def renew(self, chain: str, *, by: Name) -> Claim:
        """Replaces the chain by a later one under the same root, durably. The audit record contains `by`.
        Raises Refusal."""
        stored = await self.records.read()
        if stored is None:
            raise Conflict("NotClaimed", "this cluster agent has no chain of an administrator's to renew")
        claimed = self._verified(stored)
        room = self.room
        renewed = renewed_claim(
            claimed,
            chain,
            prefix=self.prefix,
            issuing=room.issuing,
            longest_ttl=self.longest_ttl,
            now=self.now(),
        )
        details = {**_described(renewed.chain), "before": _described(claimed.chain)}
        record = Record("chain-renewed", self.now(), str(by), details)
        following = self._signed(renewed, stored.version + 1)
        if not await self.records.replace(stored.version, following, record):
            raise Conflict(
                "ChainChanged", "another administrator renewed the chain at the same time; look again"
            )
        await self.look()
        return renewed

    async def claim(self, code: str, chain: str, root: str, administrators: object) -> Claim:
        """Stores the first valid claim, durably. Raises Refusal."""
        self._require_waiting()
        if not hmac.compare_digest(code.encode(), self._code().encode()):
            raise Forbidden("WrongClaimCode", "this is not the code in the agent's claim code file")
        now = self.now()
        claimed = check_claim(
            chain,
            root,
            administrators,
            prefix=self.prefix,
            issuing=self.room.issuing,
            longest_ttl=self.longest_ttl,
            now=now,
        )
        details = {
            "prefix": str(self.prefix),
            "rootKey": fingerprint(check_public_key(claimed.root.public_key())),
            "administrators": claimed.administrators.to_value(),
            **_described(claimed.chain),
        }
        record = Record("claimed", now, details=details)
        first = await self.records.begin(self._signed(claimed, version=1), record)
        await self.look()
        if not first:
            self._require_waiting()
        return claimed

    def _require_waiting(self) -> None:
        room = self.room
        if not room.claimable:
            raise Conflict(
                "NotClaimable",
                f"this cluster agent's root is {room.kind}, so it cannot be claimed; one with "
                "--claim required can",
            )
        if room.kind == "claimed":
            key = fingerprint(room.identity_roots.entries[0].facts.public_key)
            raise Conflict(
                "AlreadyClaimed",
                f"this cluster agent was claimed by the root {self.prefix.root} with the key {key}",
            )

    async def _stored(self) -> Claim | None:
        stored = await self.records.read()
        return None if stored is None else self._verified(stored)

    def _verified(self, stored: SignedDocument) -> Claim:
        issuing = self.room.issuing
        if not is_signed(stored.document, stored.signature, issuing):
            raise StoreError(
                "the claim in the store was not put there by a cluster agent with this issuing key"
            )
        return read_claim(stored.document, issuing, self.prefix)

    def _signed(self, claimed: Claim, version: int) -> SignedDocument:
        return SignedDocument(version, claimed.spelled, signature_of(claimed.spelled, self.room.issuing))

    def _take_up(self, claimed: Claim) -> None:
        self._sign_with(claimed)
        room = self.room
        self.administrators.admit(claimed.administrators)
        warn_of_overlap(claimed.administrators, self.administrators.secret_keepers)
        self.trust(room.identity_roots)
        _log.info(
            "claimed",
            root=str(self.prefix.root),
            rootKey=fingerprint(room.identity_roots.entries[0].facts.public_key),
            prefix=str(self.prefix),
            administrators=claimed.administrators.to_value(),
            notAfter=claimed.chain.not_after.isoformat(),
        )

    def _sign_with(self, claimed: Claim) -> None:
        signing = Authority(self.room.issuing, claimed.chain)
        self.room.follow(IdentityAuthority(signing, Roots.of(claimed.root)))
        _log.info("signs with a chain", notAfter=claimed.chain.not_after.isoformat())

    def _code(self) -> str:
        try:
            if self.code_file is None:
                raise Unavailable("NoClaimCode", "no claim code file is set")
            with self.code_file.open("rb") as file:
                code = file.read(_LONGEST_CODE_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable("NoClaimCode", f"the claim code cannot be read: {error}") from error
        if len(code) < LEAST_CODE_CHARACTERS:
            raise Unavailable(
                "NoClaimCode",
                f"the claim code has {len(code)} characters, it needs {LEAST_CODE_CHARACTERS} that nobody "
                "guesses: openssl rand -hex 16",
            )
        return code


def _described(chain: Blessing) -> dict[str, Any]:
    return {"certificate": certificate_fingerprint(chain), "notAfter": int(chain.not_after.timestamp())}
