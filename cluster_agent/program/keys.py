"""The signing keys that the settings choose: made here, given, mounted, or claimed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cluster_agent.errors import DataDirectoryError
from cluster_agent.roots.keys import RootKeys
from cluster_agent.roots.mounted_issuers import MountedIssuers
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.server.certificate import Serving
from cluster_agent.settings import Settings
from cluster_agent.signing.key_files import (
    make_claimable_room,
    make_directory,
    make_signing_room,
    mounted_room,
    own_keys,
    read_claimable_room,
    read_signing_room,
    require_keys,
)
from cluster_agent.signing.room import ROOT_LIFETIME, SigningRoom
from cluster_agent.store import Store
from cluster_agent.store.database import SQLITE
from cluster_agent.store.sole_use import sole_use


@contextmanager
def sole_use_of_data(settings: Settings) -> Iterator[None]:
    """Keeps other processes from the data directory, unless a database is shared. Raises
    DataDirectoryError."""
    if settings.database_url is not None:
        yield
        return
    refuse_emptied_store(settings)
    make_directory(settings.data_directory)
    with sole_use(settings.data_directory):
        yield


def refuse_emptied_store(settings: Settings) -> None:
    """Raises DataDirectoryError when the SQLite store is missing, and its keys or its witness are there, or a
    restore was interrupted.

    A first start makes the store before the keys. Without its store, an agent would give out again what was
    revoked, and know no secret that was made.
    """
    store = settings.data_directory / SQLITE
    if settings.keys_directory is not None or store.exists():
        return
    before = settings.data_directory.with_name(f"{settings.data_directory.name}.before")
    if not settings.data_directory.exists() and before.exists():
        raise DataDirectoryError(
            f"{settings.data_directory} is missing, and {before} is there: a restore was interrupted. "
            "Restore again, or rename it back (docs/operations.md, Back up and restore)"
        )
    witness = settings.witness
    if witness is not None and witness.exists() and witness.stat().st_size:
        raise DataDirectoryError(
            f"{store} is missing, and {witness} knows of what it had. Restore it (docs/operations.md, Back "
            "up and restore); to begin anew, without what was issued and revoked, delete that file"
        )
    if keys := own_keys(settings.data_directory):
        raise DataDirectoryError(
            f"{store} is missing, and its keys are there ({', '.join(keys)}): what was revoked and issued "
            "would be forgotten. Restore it (docs/operations.md, Back up and restore); to begin anew with "
            "these keys, make an empty file of that name"
        )


def signing_room(
    settings: Settings,
    issuers: MountedIssuers | None,
    now: Callable[[], datetime],
    *,
    begins: bool,
) -> SigningRoom:
    """The keys, read or made as the settings say. Missing ones are made only when the store `begins`: those
    of a store that is there are lost, and others would not be accepted. Raises DataDirectoryError."""
    directory, makes_keys = _own_keys(settings)
    if makes_keys and not begins:
        require_keys(directory, root=issuers is None and settings.claim == "none")
        makes_keys = False
    if issuers is not None:
        return mounted_room(directory, issuers.identity, makes_keys=makes_keys, now=now())
    if settings.claim == "required":
        return make_claimable_room(directory, now=now()) if makes_keys else read_claimable_room(directory)
    if makes_keys:
        return make_signing_room(directory, settings.prefix.root, now=now())
    return read_signing_room(directory, settings.prefix.root)


def mounted_issuers(settings: Settings, now: Callable[[], datetime]) -> MountedIssuers | None:
    """The mounted directory with the issuing certificate that another program maintains; None without one."""
    if settings.issuing_directory is None:
        return None
    made = None if settings.keys_directory is not None else _own_root_keys(settings)
    return MountedIssuers.open(settings.issuing_directory, settings.prefix, settings.ttl.default, now, made)


def root_keeper(
    settings: Settings,
    room: SigningRoom,
    store: Store,
    serving: Serving,
    issuers: MountedIssuers | None,
    now: Callable[[], datetime],
) -> RootKeeper | None:
    """The keeper of the agent's own roots; None when an administrator claims the agent with their root."""
    if room.claimable:
        return None
    return RootKeeper(
        room=room,
        records=store.root_succession,
        fleet=store.fleet,
        keys=issuers or _own_root_keys(settings),
        schedule=settings.root_schedule,
        trust=serving.trust,
        now=now,
    )


def _own_keys(settings: Settings) -> tuple[Path, bool]:
    """The directory of the agent's own keys, and whether it makes them: not in a directory that it is
    given."""
    return settings.keys_directory or settings.data_directory, settings.keys_directory is None


def _own_root_keys(settings: Settings) -> RootKeys:
    directory, makes_keys = _own_keys(settings)
    return RootKeys(directory, settings.prefix.root, ROOT_LIFETIME, makes_keys=makes_keys)
