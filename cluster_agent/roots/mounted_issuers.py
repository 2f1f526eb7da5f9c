"""The mounted issuing certificate, followed as its files change: a good one is used for signing from then on;
a bad one is refused, and the previous one continues.

Overlap: the certificates that the previous issuer signed have it in their chain, and its root stays
recognised. Under a new root, the previous issuer signs until that root is distributed, as in any rotation
(`cluster_agent.roots.rotation`). The previous issuer is in memory only: an agent that starts during that time
signs nothing until then. An issuer under a prepared root signs only if it is still mounted when its turn
comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import structlog

from blessings import Authority, Name, Roots, fingerprint
from cluster_agent.errors import BadRequest, DataDirectoryError
from cluster_agent.flags import setting
from cluster_agent.roots import mounted_files
from cluster_agent.roots.keys import HeldRoot, RootKeys
from cluster_agent.roots.mounted_files import MountedFiles
from cluster_agent.roots.rotation import RootSuccession
from cluster_agent.signing.room import IdentityAuthority

# What happened to the files; any other value is the reason of a refusal.
TAKEN, BACK = "taken", "back"
_log = structlog.get_logger("cluster_agent")


@dataclass
class MountedIssuers:
    """The mounted issuer, and earlier ones under other roots. Implements
    `cluster_agent.roots.held_keys.Keys`.

    `ttl` is the life of what is signed; an issuer that ends within it is not accepted. `made` are the keys of
    the roots that the agent made before anything was mounted, if it may delete them.
    """

    makes_keys: ClassVar = False
    needed_at_start: ClassVar = False

    directory: Path
    prefix: Name
    ttl: timedelta
    now: Callable[[], datetime]
    made: RootKeys | None = None
    _held: dict[str, HeldRoot] = field(default_factory=dict)
    _taken: bytes = b""
    # Accepted before the roots in the store were known.
    _unchecked: bytes = b""
    _said: tuple[bytes, str] = (b"", TAKEN)

    @classmethod
    def open(
        cls,
        directory: Path,
        prefix: Name,
        ttl: timedelta,
        now: Callable[[], datetime],
        made: RootKeys | None = None,
    ) -> MountedIssuers:
        """Reads the mounted issuer. Raises DataDirectoryError when it cannot be used."""
        opened = cls(directory, prefix, ttl, now, made=made)
        try:
            files = mounted_files.read_settled(directory)
            opened._unchecked = files.digest
            opened._take(files, None)
        except BadRequest as error:
            raise DataDirectoryError(
                f"{setting('issuing_directory')} {directory}: {error.reason}: {error}"
            ) from error
        return opened

    @property
    def identity(self) -> IdentityAuthority:
        """The authority at the start, from the files read by `open`."""
        first = next(iter(self._held.values()))
        return IdentityAuthority(first.signing, Roots.of(first.certificate))

    def held(self) -> dict[str, HeldRoot]:
        """The issuer for each root, by the fingerprint of the root's key."""
        return dict(self._held)

    def make(self, now: datetime) -> Authority:
        """Raises DataDirectoryError: new roots come from the program that maintains the files."""
        raise DataDirectoryError(f"{self.directory} is mounted; no root is made here at {now.isoformat()}")

    def to_delete(self, key: str) -> bool:
        """Whether `key` is one of `made`. Raises DataDirectoryError."""
        return self.made is not None and self.made.to_delete(key)

    def delete(self, key: str) -> None:
        """Raises DataDirectoryError, also for mounted files, which belong to the program that maintains
        them."""
        if self.made is None:
            raise DataDirectoryError(f"{self.directory} is mounted; the key {key} cannot be deleted here")
        self.made.delete(key)

    @property
    def why_no_successor(self) -> str:
        """A message: why there is no new root to prepare, and how to get one."""
        return (
            f"what is mounted in {self.directory} is under a root that replicas know already; mount an "
            "issuer under another root"
        )

    def why_missing(self, key: str) -> str:
        """A message: why nothing is signed while the root with that key is active."""
        return (
            f"what is mounted in {self.directory} is not under the active root {key}; nothing is signed "
            "until its own root is distributed and active (GET /v1/identity-roots), or an issuer under the "
            "active one is mounted"
        )

    async def look(self, state: RootSuccession, note: Callable[[str], None]) -> bool:
        """Reads the files again, and returns whether what is held changed.

        `state` contains the current roots. `note` is called with what happened to files that changed.
        """
        digest = b""
        for key in state.gone:
            self._held.pop(key, None)
        try:
            files = await asyncio.to_thread(mounted_files.read, self.directory)
            if files is None:
                return False
            if files.digest == self._taken:
                if self._said[1] != TAKEN:
                    self._said = (digest, TAKEN)
                    note(BACK)
                    _log.info("mounted issuer is the previous one again", directory=str(self.directory))
                return False
            digest = files.digest
            before = self.held()
            issuer = self._take(files, state)
        except BadRequest as error:
            if self._said != (digest, error.reason):
                self._said = (digest, error.reason)
                note(error.reason)
                _log.error(
                    "mounted issuer refused, the previous one stays",
                    directory=str(self.directory),
                    reason=error.reason,
                    error=str(error),
                )
            if digest and digest == self._unchecked:
                self._held.clear()
                self._unchecked = b""
                return True
            return False
        self._said = (digest, TAKEN)
        note(TAKEN)
        _log.info(
            "mounted issuer taken",
            key=fingerprint(issuer.signing.principal.public_key),
            notAfter=issuer.signing.blessing.not_after.isoformat(),
            rootKey=issuer.fingerprint,
            rootPhase=next(
                (one.phase for one in state.roots if one.fingerprint == issuer.fingerprint), "new"
            ),
        )
        _warn_of_older(before.get(issuer.fingerprint), issuer)
        return True

    def _take(self, files: MountedFiles, state: RootSuccession | None) -> HeldRoot:
        roots = () if state is None else state.roots
        known_roots = {one.fingerprint: one.certificate for one in roots}
        issuer = mounted_files.check(
            files,
            prefix=self.prefix,
            at_least=self.ttl,
            known_roots=known_roots,
            gone=() if state is None else state.gone,
            now=self.now(),
        )
        # A root that was replaced before any replica got it is never distributed. A prepared root signs later
        # only while its issuer is mounted, so putting the old files back undoes the change.
        prepared = None if state is None or state.prepared is None else state.prepared.fingerprint
        self._held = {key: one for key, one in self._held.items() if key in known_roots and key != prepared}
        self._held[issuer.fingerprint] = issuer
        if state is not None:
            self._taken, self._unchecked = files.digest, b""
        return issuer


def _warn_of_older(before: HeldRoot | None, issuer: HeldRoot) -> None:
    ends = issuer.signing.blessing.not_after
    if before is not None and ends < before.signing.blessing.not_after:
        _log.warning(
            "mounted issuer ends before the one that it replaces; was an old one put back?",
            notAfter=ends.isoformat(),
            notAfterOfTheOneBefore=before.signing.blessing.not_after.isoformat(),
        )
