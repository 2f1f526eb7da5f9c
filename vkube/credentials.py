"""An administrator's credentials: a principal in a directory, and the certificate that it presents to a
cluster agent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from blessings import (
    Authority,
    Blessing,
    BlessingsError,
    CannotBless,
    Caveat,
    InvalidKey,
    Name,
    Principal,
    PublicKey,
    Roots,
)
from blessings.directory import DirectoryPrincipal
from blessings.granting.delegation import check_valid_now
from blessings.keys import parse_public_key
from blessings.profile.fields import Role
from vkube import terminal
from vkube.errors import CredentialsError

ADMINISTRATOR = "administrator"
_ONE_COMMAND = timedelta(minutes=10)


def read_passphrase(file: Path | None) -> bytes | None:
    """The content of `file` without its final newline; None without a file. Raises CredentialsError."""
    if file is None:
        return None
    try:
        passphrase = file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise CredentialsError(f"cannot read the passphrase: {error}") from error
    if not passphrase:
        raise CredentialsError(f"{file} is empty, it contains no passphrase")
    return passphrase


def check_new(directory: Path, name: str | None) -> None:
    """Raises CredentialsError when `create` would refuse that directory or that name."""
    try:
        if name is not None:
            Name.parse(name)
        taken = directory.exists() and any(directory.iterdir())
    except (BlessingsError, OSError) as error:
        raise CredentialsError(str(error)) from error
    if taken:
        raise CredentialsError(f"{directory} is not empty; a new principal needs a directory of its own")


def create(
    directory: Path, name: str | None, *, passphrase: bytes | None, lifetime: timedelta, now: datetime
) -> DirectoryPrincipal:
    """A new principal; with `name` it is the root of that name, and recognises itself. Raises
    CredentialsError."""
    try:
        root_name = None if name is None else Name.parse(name)
        made = DirectoryPrincipal.create(directory, passphrase=passphrase)
        if root_name is not None:
            root = Authority.create_root(root_name, made.principal, now=now, lifetime=lifetime)
            made.set_roots(Roots.of(root.certificate))
            made.set_blessings(made.blessings.with_default(root.blessing))
    except (BlessingsError, OSError) as error:
        raise CredentialsError(str(error)) from error
    return made


def open_directory(directory: Path, passphrase: bytes | None) -> DirectoryPrincipal:
    """The principal in `directory`. Without a passphrase, the terminal is asked for that of a sealed key.

    Raises CredentialsError, and UsageError where there is no terminal.
    """
    try:
        if passphrase is None and DirectoryPrincipal.is_sealed(directory):
            passphrase = terminal.passphrase(
                f"Passphrase of {directory}: ", f"the key in {directory} is sealed; name --passphrase-file"
            )
        return DirectoryPrincipal.open(directory, passphrase=passphrase)
    except BlessingsError as error:
        raise CredentialsError(str(error)) from error


def authority_of(credentials: DirectoryPrincipal) -> Authority:
    """The authority by which the principal grants. Raises CredentialsError when it may not grant."""
    try:
        return Authority(credentials.principal, _default(credentials))
    except CannotBless as error:
        raise CredentialsError(f"these credentials can grant nothing: {error}") from error


def bless(
    credentials: DirectoryPrincipal,
    public_key_file: Path,
    extension: str,
    *,
    lifetime: timedelta,
    caveats: Sequence[Caveat],
    now: datetime,
) -> tuple[PublicKey, Blessing]:
    """Gives the key in that PEM file this principal's name followed by `extension`.

    Raises CredentialsError.
    """
    _default(credentials)
    try:
        key = parse_public_key(public_key_file.read_text())
        return key, credentials.bless(key, extension, now=now, lifetime=lifetime, caveats=caveats)
    except (OSError, UnicodeDecodeError, InvalidKey) as error:
        raise CredentialsError(f"{public_key_file}: {error}") from error
    except BlessingsError as error:
        raise CredentialsError(f"cannot bless: {error}") from error


def set_default(credentials: DirectoryPrincipal, blessing_file: Path, now: datetime) -> Blessing:
    """Makes the blessing in that file the one to present. Raises CredentialsError, also for a blessing that
    has expired or belongs to another key."""
    try:
        blessing = Blessing.from_pem(blessing_file.read_text())
        check_valid_now(blessing, now)
        credentials.set_blessings(credentials.blessings.with_default(blessing))
    except (OSError, UnicodeDecodeError, BlessingsError) as error:
        raise CredentialsError(f"{blessing_file}: {error}") from error
    return blessing


def client_certificate(credentials: DirectoryPrincipal, now: datetime) -> tuple[Principal, Blessing]:
    """The key and certificate to present to a cluster agent.

    A principal that may sign presents `<its name>:administrator`, with a new key for this one command. Any
    other principal presents its blessing. Raises CredentialsError.
    """
    blessing = _default(credentials)
    try:
        check_valid_now(blessing, now)
        if not blessing.is_svid:
            raise CredentialsError(
                f"{blessing.presented} has caveats or is a delegate's, so no TLS server accepts it"
            )
        if blessing.facts(0).role is not Role.SIGNER:
            return credentials.principal, blessing
        principal = Principal.create()
        leaf = Authority(credentials.principal, blessing).bless(
            principal.public_key, ADMINISTRATOR, now=now, lifetime=_ONE_COMMAND
        )
    except BlessingsError as error:
        raise CredentialsError(f"these credentials cannot be used: {error}") from error
    return principal, leaf


def _default(credentials: DirectoryPrincipal) -> Blessing:
    if credentials.blessings.default is None:
        raise CredentialsError("these credentials have no blessing, so they prove no name")
    return credentials.blessings.default
