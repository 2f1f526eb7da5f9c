"""An administrator's root, and what it grants: as `vkube` makes them, or by keywords as an attacker would."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from blessings import Authority, Caveat, Name, Principal, PublicKey
from blessings.encoding.chains import to_pem

CODE = "0123456789abcdef0123456789abcdef"
ADMINISTRATORS = {"in": ["acme:administrator"]}


class Administrator:
    """A root, offline from the agent's view."""

    def __init__(self, now: datetime, name: str = "acme") -> None:
        self.now = now
        self.root = Authority.create_root(
            Name.parse(name), Principal.create(), now=now, lifetime=timedelta(days=3650)
        )

    @property
    def root_pem(self) -> str:
        return to_pem([self.root.certificate])

    def grant(
        self,
        key: PublicKey,
        extension: str = "prod",
        *,
        path_length: int = 1,
        lifetime: timedelta = timedelta(days=365),
        caveats: Sequence[Caveat] = (),
    ) -> str:
        granted = self.root.grant(
            key, extension, now=self.now, lifetime=lifetime, path_length=path_length, caveats=caveats
        )
        return granted.to_pem()

    def claim(self, key: PublicKey, **changes: Any) -> dict[str, Any]:
        """The body of a claim of the agent with that key."""
        body = {
            "code": CODE,
            "chain": self.grant(key),
            "root": self.root_pem,
            "administrators": ADMINISTRATORS,
        }
        return {**body, **changes}

    def leaf(self, extension: str = "administrator") -> tuple[Principal, Any]:
        """A client certificate."""
        principal = Principal.create()
        blessing = self.root.bless(
            principal.public_key, extension, now=self.now, lifetime=timedelta(minutes=10)
        )
        return principal, blessing
