"""A mounted issuing certificate with its key: the files `tls.crt`, `tls.key`, `ca.crt`.

Another program maintains them, such as cert-manager for a Certificate with `isCA`. They are read completely,
and checked before anything is signed with them. A torn read, half old and half new, does not hold together
and is refused. For each check there is a test with the attack that it stops, in
tests/cluster_agent/roots/test_mounted_issuers.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from blessings import Authority, Blessing, BlessingsError, Name, Principal, fingerprint
from blessings.profile.fields import public_key_of
from cluster_agent.errors import BadRequest
from cluster_agent.roots.keys import HeldRoot
from cluster_agent.signing import granted
from service import mounted_files
from service.errors import UnreadableFile

CERTIFICATE, KEY, ROOT = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True)
class MountedFiles:
    """The contents of the files at one time."""

    certificate: bytes
    key: bytes
    root: bytes

    @property
    def digest(self) -> bytes:
        """A digest, to recognise the files again without keeping the key."""
        return mounted_files.digest((self.certificate, self.key, self.root))


def read(directory: Path) -> MountedFiles | None:
    """The files in `directory`; None while they are being replaced. Raises BadRequest for unreadable ones."""
    try:
        contents = mounted_files.read([directory / name for name in (CERTIFICATE, KEY, ROOT)])
    except UnreadableFile as error:
        raise BadRequest(error.reason, str(error)) from error
    return None if contents is None else MountedFiles(*contents)


def read_settled(directory: Path) -> MountedFiles:
    """The files in `directory`, without waiting. Raises BadRequest also while they are being replaced."""
    files = read(directory)
    if files is None:
        raise BadRequest("FilesChanging", "the files are being replaced; start again")
    return files


def check(
    files: MountedFiles,
    *,
    prefix: Name,
    at_least: timedelta,
    known_roots: Mapping[str, x509.Certificate],
    gone: Collection[str],
    now: datetime,
) -> HeldRoot:
    """The issuer in these files, if every check passes.

    `at_least` is how long it must last. `known_roots` are the roots that replicas recognise. `gone` contains
    the fingerprints of the keys of retired roots. Raises BadRequest.
    """
    root = granted.parse_root(_text(files.root, ROOT), prefix.root)
    chain = granted.parse_chain(_text(files.certificate, CERTIFICATE), root)
    try:
        principal = Principal.from_pem(files.key)
    except BlessingsError as error:
        raise BadRequest("InvalidKey", f"{KEY}: {error}") from error
    try:
        key_of_certificate = fingerprint(public_key_of(chain.leaf))
    except BlessingsError as error:
        raise BadRequest("InvalidChain", f"{CERTIFICATE}: {error}") from error
    if key_of_certificate != fingerprint(principal.public_key):
        raise BadRequest(
            "KeyMismatch",
            f"{KEY} is the key {fingerprint(principal.public_key)}, {CERTIFICATE} has {key_of_certificate}",
        )
    granted.check_chain(chain, root, prefix, issuing=principal, room_below=True, now=now)
    granted.check_time_left(chain, at_least, now)
    root_key = fingerprint(public_key_of(root))
    if root_key in gone:
        raise BadRequest("RootGone", f"the root {root_key} was retired, and replicas no longer recognise it")
    known = known_roots.get(root_key, root)
    if known != root:
        _check_under_known(chain, known, prefix, principal, now)
    return HeldRoot(known, Authority(principal, chain))


def _check_under_known(
    chain: Blessing, known: x509.Certificate, prefix: Name, principal: Principal, now: datetime
) -> None:
    """Checks that the chain is valid under the certificate of the root that replicas have."""
    try:
        granted.check_chain(chain, known, prefix, issuing=principal, room_below=True, now=now)
    except BadRequest as error:
        raise BadRequest(
            "RootReissued",
            f"{ROOT} is another certificate of a root's key than replicas have, and the chain does not hold "
            f"under theirs ({error}); a new root needs a new key",
        ) from error


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadRequest("InvalidChain", f"{name} is not PEM: {error}") from error
