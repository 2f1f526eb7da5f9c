"""A principal kept in a directory: its key, blessings and recognised roots survive restarts.

    principal = DirectoryPrincipal.create(Path("credentials"), passphrase=b"…")
    principal = DirectoryPrincipal.open(Path("credentials"), passphrase=b"…")

| file | what it is |
|---|---|
| key.pem or key.json | the private key: PKCS #8, or sealed under a passphrase (`principals.sealed_key`) |
| blessings.json | the blessing store |
| roots.json | the recognised roots |

The directory has mode 0700 and its files 0600. A directory or file that other users may use, or that belongs
to another user, is not opened. A file is written under a temporary name, made durable, and renamed into its
place, so a reader sees either the old or the new file, complete. When two processes change one directory, the
last writer wins.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from blessings.blessing import Blessing
from blessings.caveats.kinds import Caveat
from blessings.errors import BlessingsError, InvalidKey, InvalidStore
from blessings.keys import KeyKind, PublicKey
from blessings.names import Name
from blessings.principal import Principal
from blessings.principals.blessed_principal import MemoryPrincipal
from blessings.principals.blessing_store import BlessingStore
from blessings.principals.sealed_key import seal, unseal
from blessings.roots import Roots

KEY, SEALED_KEY, BLESSINGS, ROOTS = "key.pem", "key.json", "blessings.json", "roots.json"
VERSION = 1
MAX_FILE_BYTES = 4 * 1024 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class DirectoryPrincipal:
    """A principal kept in a directory. Implements `blessings.BlessedPrincipal`."""

    def __init__(self, directory: Path, principal: MemoryPrincipal) -> None:
        """Use `create` or `open`."""
        self._directory = directory
        self._memory = principal

    @classmethod
    def create(
        cls, directory: Path, *, kind: KeyKind = KeyKind.P256, passphrase: bytes | None = None
    ) -> DirectoryPrincipal:
        """A principal with a new key in `directory`, which must be missing or empty. Raises InvalidStore,
        OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owned(directory, os.stat(directory))
        if any(directory.iterdir()):
            raise InvalidStore(f"{directory} is not empty; a new principal needs a directory of its own")
        memory = MemoryPrincipal(Principal.create(kind))
        _write(directory / BLESSINGS, _spell(memory.blessings.to_json()))
        _write(directory / ROOTS, _spell({"version": VERSION, "roots": memory.roots.to_json()}))
        # The key comes last, so that a directory with a key is complete.
        key = memory.principal.to_pem()
        if passphrase is None:
            _write(directory / KEY, key)
        else:
            _write(directory / SEALED_KEY, seal(key, passphrase))
        return cls(directory, memory)

    @classmethod
    def open(cls, directory: Path, *, passphrase: bytes | None = None) -> DirectoryPrincipal:
        """The principal kept in `directory`.

        Raises InvalidStore for a missing or damaged file, for one that other users may use, and for a
        blessing of another key; InvalidKey when the passphrase is wrong or missing, or given for a key that
        is not encrypted.
        """
        try:
            _check_owned(directory, os.stat(directory))
            path = _key_path(directory)
            key = _read(path)
            blessings = _blessings(directory / BLESSINGS)
            roots = _roots(directory / ROOTS)
        except OSError as error:
            raise InvalidStore(f"{directory} is not a principal's directory: {error}") from error
        try:
            principal = Principal.from_pem(_opened(key, path.name == SEALED_KEY, passphrase))
        except InvalidKey as error:
            raise InvalidKey(f"{path}: {error}") from error
        try:
            return cls(directory, MemoryPrincipal(principal, blessings, roots))
        except InvalidKey as error:
            raise InvalidStore(f"{directory / BLESSINGS}: {error}") from error

    @staticmethod
    def is_sealed(directory: Path) -> bool:
        """Whether the key in `directory` is sealed under a passphrase, which `open` then needs."""
        return os.path.lexists(directory / SEALED_KEY)

    @property
    def principal(self) -> Principal:
        """The key pair, for TLS and discharges."""
        return self._memory.principal

    @property
    def public_key(self) -> PublicKey:
        return self._memory.public_key

    @property
    def blessings(self) -> BlessingStore:
        return self._memory.blessings

    @property
    def roots(self) -> Roots:
        return self._memory.roots

    def sign(self, message: bytes) -> bytes:
        return self._memory.sign(message)

    def bless(
        self,
        public_key: PublicKey,
        extension: str,
        *,
        now: datetime,
        lifetime: timedelta,
        caveats: Sequence[Caveat] = (),
        blessing: Blessing | None = None,
    ) -> Blessing:
        return self._memory.bless(
            public_key, extension, now=now, lifetime=lifetime, caveats=caveats, blessing=blessing
        )

    def bless_self(self, name: Name, *, now: datetime, lifetime: timedelta) -> Blessing:
        return self._memory.bless_self(name, now=now, lifetime=lifetime)

    def set_blessings(self, blessings: BlessingStore) -> None:
        """Durable when it returns. Raises InvalidKey for a blessing of another key, and OSError."""
        changed = MemoryPrincipal(self.principal, blessings, self.roots)
        _write(self._directory / BLESSINGS, _spell(blessings.to_json()))
        self._memory = changed

    def set_roots(self, roots: Roots) -> None:
        """Durable when it returns. Raises OSError."""
        _write(self._directory / ROOTS, _spell({"version": VERSION, "roots": roots.to_json()}))
        self._memory.set_roots(roots)


def _key_path(directory: Path) -> Path:
    """The path of the key. Two key files are refused: an attacker who adds one could decide which is used."""
    keys = [path for path in (directory / KEY, directory / SEALED_KEY) if os.path.lexists(path)]
    if len(keys) != 1:
        raise InvalidStore(f"{directory} has {len(keys)} of the files {KEY} and {SEALED_KEY}, expected one")
    return keys[0]


def _opened(key: bytes, sealed: bool, passphrase: bytes | None) -> bytes:
    if sealed and passphrase is None:
        raise InvalidKey("the key is sealed, but no passphrase was given")
    if not sealed and passphrase is not None:
        raise InvalidKey("a passphrase was given, but the key is not sealed")
    return key if passphrase is None else unseal(key, passphrase)


def _blessings(path: Path) -> BlessingStore:
    value = _parse(path)
    try:
        return BlessingStore.from_json(value)
    except InvalidStore as error:
        raise InvalidStore(f"{path}: {error}") from error


def _roots(path: Path) -> Roots:
    value = _parse(path)
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise InvalidStore(f"{path} is not an object of version {VERSION}")
    try:
        return Roots.from_json(value["roots"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidStore(f"{path} must contain roots, a list of certificate and pattern") from error
    except BlessingsError as error:
        raise InvalidStore(f"{path} cannot be read: {error}") from error


def _parse(path: Path) -> object:
    try:
        value: object = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise InvalidStore(f"{path} is not JSON: {type(error).__name__}") from error
    return value


def _spell(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _read(path: Path) -> bytes:
    # Links are not followed: the target may be exposed, or change, while the link itself does not.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidStore(f"{path} is not a regular file")
        _check_owned(path, status)
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidStore(f"{path} has more than {MAX_FILE_BYTES} bytes")
    return data


def _check_owned(path: Path, status: os.stat_result) -> None:
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise InvalidStore(
            f"{path} has mode {mode:04o}, so other users may use it; remove their access: chmod go= {path}"
        )
    if status.st_uid != os.geteuid():
        raise InvalidStore(f"{path} belongs to user {status.st_uid}, this program is user {os.geteuid()}")


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
