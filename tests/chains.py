"""The one way to build a chain in tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from blessings import Authority, Blessing, Caveat, Name, Principal, Roots, delegate

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
YEAR = timedelta(days=365)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Realm:
    """A root, an application under it, and a replica of that."""

    root: Authority
    application: Authority
    replica: Principal
    blessing: Blessing

    @property
    def roots(self) -> Roots:
        return Roots.of(self.root.certificate)

    def delegated(self, *extensions: str, caveats: Sequence[Caveat] = ()) -> tuple[Principal, Blessing]:
        """A delegate of the replica, a delegate of that, and so on; the caveats are on the last one."""
        principal, blessing = self.replica, self.blessing
        for position, extension in enumerate(extensions, 1):
            delegate_key = Principal.create()
            blessing = delegate(
                principal,
                blessing,
                delegate_key.public_key,
                extension,
                now=NOW,
                lifetime=HOUR,
                caveats=caveats if position == len(extensions) else (),
            )
            principal = delegate_key
        return principal, blessing


def realm(root: str = "acme", application: str = "prod:shop:web", replica: str = "web-1") -> Realm:
    """By default the chain of `acme:prod:shop:web:web-1`, made at NOW, the replica's for an hour."""
    root_authority = Authority.create_root(Name.parse(root), Principal.create(), now=NOW, lifetime=YEAR)
    agent, principal = Principal.create(), Principal.create()
    granted = root_authority.grant(agent.public_key, application, now=NOW, lifetime=30 * timedelta(days=1))
    authority = Authority(agent, granted)
    blessing = authority.bless(principal.public_key, replica, now=NOW, lifetime=HOUR)
    return Realm(root_authority, authority, principal, blessing)
