"""One interface to a principal with its blessings and recognised roots, wherever its key is.

| | its key | the rest |
|---|---|---|
| MemoryPrincipal | in this process | in this process |
| blessings.directory.DirectoryPrincipal | in a directory, sealed on request | beside it |
| agent_client.RemotePrincipal | in the pod agent | there; blessings for peers can be changed |
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from blessings.blessing import Blessing
from blessings.caveats.kinds import Caveat
from blessings.errors import CannotBless, InvalidCertificate, InvalidKey
from blessings.granting.authority import Authority
from blessings.granting.delegation import delegate
from blessings.keys import PublicKey, encoded
from blessings.names import Name
from blessings.principal import Principal
from blessings.principals.blessing_store import BlessingStore
from blessings.profile import certificates as profile
from blessings.profile.fields import Role
from blessings.roots import Roots


class BlessedPrincipal(Protocol):
    """What a program needs of a principal. Every method may raise BlessingsError.

    Where the key is in another process, every method may also raise an error of the client for that process.
    """

    @property
    def public_key(self) -> PublicKey: ...

    @property
    def blessings(self) -> BlessingStore:
        """The blessings that it presents."""

    @property
    def roots(self) -> Roots:
        """The roots that it recognises, each for its names."""

    def sign(self, message: bytes) -> bytes:
        """A signature that `verify_signature` checks."""

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
        """Gives another key the name of `blessing` (by default the default blessing), followed by
        `extension`."""

    def bless_self(self, name: Name, *, now: datetime, lifetime: timedelta) -> Blessing:
        """A blessing under a root that is this very key: the last certificate is the root's."""

    def set_blessings(self, blessings: BlessingStore) -> None:
        """Raises InvalidKey for a blessing of another key, ReadOnly where it cannot be changed."""

    def set_roots(self, roots: Roots) -> None:
        """Raises ReadOnly where it cannot be changed."""


class MemoryPrincipal:
    """A key pair with its blessings and roots, all in memory. Implements BlessedPrincipal."""

    def __init__(
        self, principal: Principal, blessings: BlessingStore | None = None, roots: Roots | None = None
    ) -> None:
        """Raises InvalidKey for a blessing of another key."""
        self._principal = principal
        self._blessings = BlessingStore()
        self._roots = Roots(()) if roots is None else roots
        if blessings is not None:
            self.set_blessings(blessings)

    @property
    def principal(self) -> Principal:
        """The key pair, for TLS and discharges."""
        return self._principal

    @property
    def public_key(self) -> PublicKey:
        return self._principal.public_key

    @property
    def blessings(self) -> BlessingStore:
        return self._blessings

    @property
    def roots(self) -> Roots:
        return self._roots

    def sign(self, message: bytes) -> bytes:
        return self._principal.sign(message)

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
        """See the function `bless`. Raises CannotBless, also when there is no blessing to use."""
        chosen = self._blessings.default if blessing is None else blessing
        if chosen is None:
            raise CannotBless("the principal has no default blessing, and no other blessing was given")
        return bless(
            self._principal, chosen, public_key, extension, now=now, lifetime=lifetime, caveats=caveats
        )

    def bless_self(self, name: Name, *, now: datetime, lifetime: timedelta) -> Blessing:
        return bless_self(self._principal, name, now=now, lifetime=lifetime)

    def set_blessings(self, blessings: BlessingStore) -> None:
        check_own(blessings, self.public_key)
        self._blessings = blessings

    def set_roots(self, roots: Roots) -> None:
        self._roots = roots


def bless(
    principal: Principal,
    blessing: Blessing,
    public_key: PublicKey,
    extension: str,
    *,
    now: datetime,
    lifetime: timedelta,
    caveats: Sequence[Caveat],
) -> Blessing:
    """Makes a leaf when `blessing` is a signing certificate, otherwise a delegate. Raises CannotBless."""
    try:
        role = blessing.facts(0).role
    except InvalidCertificate as error:
        raise CannotBless(f"the blessing is outside of the profile: {error}") from error
    if role is Role.SIGNER:
        authority = Authority(principal, blessing)
        return authority.bless(public_key, extension, now=now, lifetime=lifetime, caveats=caveats)
    return delegate(principal, blessing, public_key, extension, now=now, lifetime=lifetime, caveats=caveats)


def bless_self(principal: Principal, name: Name, *, now: datetime, lifetime: timedelta) -> Blessing:
    """A leaf for `name`, under a root for its first component; both are certificates of the principal's key.

    It proves the name to verifiers that recognise the root: `Roots.of(blessing.certificates[-1])`. Raises
    CannotBless for a name of one component, which identifies nobody.
    """
    if len(name.components) < 2:
        raise CannotBless(f"a blessing's name extends its root, {str(name)!r} is a root alone")
    root = Authority.create_root(name.root, principal, now=now, lifetime=lifetime)
    leaf = profile.build_leaf_certificate(
        name,
        principal.public_key,
        issuer=root.certificate,
        issuer_key=principal.signing_key,
        not_before=root.blessing.not_before,
        not_after=root.blessing.not_after,
        dns_names=(),
        usages=(profile.CLIENT, profile.SERVER),
    )
    return Blessing((leaf, root.certificate))


def check_own(blessings: BlessingStore, key: PublicKey) -> None:
    """Raises InvalidKey when one of the blessings belongs to another key."""
    for blessing in blessings.blessings:
        if encoded(blessing.public_key) != encoded(key):
            raise InvalidKey("a blessing for the store belongs to another key")
