"""The identity as PEM files, for programs that read nothing else. Only on request, because each container
that has the directory can read the private key.

| file | content |
|---|---|
| `tls.crt` | the chain, leaf first |
| `tls.key` | its private key, PKCS #8 |
| `tls.pem` | both, the key first: a reader of one file never has a key and a chain that do not fit |
| `ca.crt` | the roots of the own trust domain |

An expired identity stays in the files: each reader sees in the certificate that it has expired.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from blessings.encoding.chains import to_pem
from pod_agent import sole_use
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.swapped_directory import swap
from service.errors import SettingsError
from service.log import get_logger
from service.supervisor import Task

_FLAG = "--files-directory"
_LONGEST_WAIT_SECONDS = 30.0
_UNREADY_SECONDS = 120.0

_log = get_logger("pod_agent")


@dataclass(frozen=True)
class FilePlace:
    """Where the files are, and who may read them: `mode` of each file, and its `group`, None for the agent's
    or the directory's own."""

    directory: Path
    mode: int
    group: int | None


class IdentityFiles:
    """Keeps the files up to date. No other pod agent may have the directory: raises SettingsError."""

    def __init__(self, place: FilePlace, current: CurrentIdentity, now: Callable[[], datetime]) -> None:
        if place.group is not None and os.geteuid() and place.group not in {os.getgid(), *os.getgroups()}:
            raise SettingsError(f"--files-group: the pod agent does not belong to the group {place.group}")
        sole_use.take(place.directory, _FLAG)
        self._place = place
        self._current = current
        self._now = now
        self._shown: Identity | None = None
        self._written: Mapping[str, bytes] | None = None

    def task(self) -> Task:
        """The background task. `/readyz` fails until the first files are there: applications start then."""
        return Task(
            "files",
            self.round,
            period=0.0,
            failure="files not written",
            needed=True,
            unready_after_seconds=_UNREADY_SECONDS,
        )

    async def round(self) -> None:
        """Waits until the identity or its roots change, and writes the files. All rounds but the first end
        without a change, too. Raises OSError."""
        wait = None if self._shown is None else _LONGEST_WAIT_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                identity = await self._current.other_than(self._shown)
            self._write(identity)
            self._shown = identity

    def _write(self, identity: Identity) -> None:
        files, place = contents(identity), self._place
        if files == self._written:
            return  # what has changed is not in them, and programs would read them again
        # On a memory-backed volume: the event loop does not wait for a disk.
        swap(place.directory, files, mode=place.mode, group=place.group, now=self._now())
        self._written = files
        _log.info("files written", directory=str(place.directory), version=identity.version)


def contents(identity: Identity) -> Mapping[str, bytes]:
    """The files by name.

    The roots are those that are trusted for the whole of the own trust domain. Roots of federated domains are
    left out: a plain verifier would accept every name from them.
    """
    chain, key = identity.blessing.to_pem().encode(), identity.principal.to_pem()
    roots = identity.own_roots
    return {"tls.crt": chain, "tls.key": key, "tls.pem": key + chain, "ca.crt": to_pem(roots).encode()}
