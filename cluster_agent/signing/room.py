"""The signing room. What may be signed is decided outside of it (`issuing.checks`, `issuing.ttl_policy`).

It has three keys: the identity authority's (in quick start that of a root of its own; once claimed, the
issuing key itself), the issuing key that applications are granted to, and the bootstrap root. The bootstrap
root is never published, so a bootstrap credential proves something to this agent alone and can never be
mistaken for a replica.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import structlog

from blessings import Authority, Blessing, CannotBless, Name, Principal, Roots, fingerprint
from blessings.keys import PublicKey
from blessings.profile.certificates import CLIENT
from cluster_agent.errors import Forbidden, Unavailable
from cluster_agent.signing.issuer_life import Life, Plan, is_ending, plan

BOOTSTRAP_ROOT = Name.parse("vanadium-bootstrap")
ROOT_LIFETIME = timedelta(days=3650)
GRANT_LIFETIME = timedelta(days=30)
BOOTSTRAP_LIFETIME = timedelta(days=90)


_log = structlog.get_logger("cluster_agent")


@dataclass(frozen=True)
class BootstrapCredential:
    """A client certificate with its key, given out once and not kept."""

    id: str
    principal: Principal
    blessing: Blessing


@dataclass(frozen=True)
class IdentityAuthority:
    """The authority that grants applications, and every root that replicas recognise meanwhile.

    It may sign until `until`, and only certificates of at most `longest_ttl`, where these are set. It may not
    sign at all when there is a `refusal`.
    """

    signing: Authority
    roots: Roots
    until: datetime | None = None
    longest_ttl: timedelta | None = None
    refusal: str = ""

    @classmethod
    def of_root(cls, root: Authority) -> IdentityAuthority:
        """An authority that is a root alone."""
        return cls(root, Roots.of(root.certificate))


@dataclass
class SigningRoom:
    """The agent's keys, and the application certificates granted to its issuing key.

    `given` is the authority that grants applications: in quick start a root of its own, the `mounted` issuer,
    or the one from an administrator's claim, and None until then.
    """

    given: IdentityAuthority | None
    issuing: Principal
    bootstrap: Authority
    mounted: bool = False
    _grants: dict[Name, Authority] = field(default_factory=dict)
    # Of the chains that administrators granted, as far as they were signed with.
    _granted_lives: dict[Name, Life] = field(default_factory=dict)

    @property
    def identity(self) -> IdentityAuthority:
        """The identity authority. Raises Unavailable while no administrator has claimed the agent."""
        return self.require_identity()

    def require_identity(self) -> IdentityAuthority:
        """The identity authority, as a check for callers. Raises Unavailable while the agent is unclaimed."""
        if self.given is None:
            raise Unavailable("Unclaimed", "nobody has claimed this cluster agent yet, so it names nobody")
        return self.given

    @property
    def kind(self) -> str:
        """Where the root comes from: `self-made`, `mounted`, `claimed`, or, while there is none,
        `unclaimed`."""
        if self.mounted:
            return "mounted"
        if self.given is None:
            return "unclaimed"
        return "self-made" if self.given.signing.is_root else "claimed"

    @property
    def claimable(self) -> bool:
        """Whether its authority comes from an administrator's claim, now or in future."""
        return self.kind in ("unclaimed", "claimed")

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each key that the agent has, by the key's role."""
        return {role: fingerprint(key) for role, key in self._keys.items()}

    @property
    def public_keys(self) -> Collection[PublicKey]:
        return self._keys.values()

    @property
    def _keys(self) -> dict[str, PublicKey]:
        keys = {"issuing": self.issuing, "bootstrap": self.bootstrap.principal}
        if self.given is not None and self.given.signing.is_root:
            keys["root"] = self.given.signing.principal
        return {role: principal.public_key for role, principal in keys.items()}

    def issuing_key(self, of: str) -> Principal | None:
        """The issuing key with the fingerprint `of`, if it is here; it signs revocation lists."""
        return self.issuing if fingerprint(self.issuing.public_key) == of else None

    @property
    def lasting_fingerprints(self) -> dict[str, str]:
        """The fingerprints of the keys that are never replaced, by role."""
        return {role: key for role, key in self.fingerprints.items() if role != "root"}

    @property
    def identity_roots(self) -> Roots:
        """The published roots, at which replicas' chains end. Empty while the agent is unclaimed."""
        return Roots(()) if self.given is None else self.given.roots

    @cached_property
    def bootstrap_roots(self) -> Roots:
        """The root of bootstrap credentials, which only this agent recognises. It is never replaced."""
        return Roots.of(self.bootstrap.certificate)

    def follow(self, identity: IdentityAuthority) -> None:
        """Makes `identity` the authority to sign with."""
        if self.given is None or identity.signing.blessing != self.given.signing.blessing:
            self._grants.clear()
        self.given = identity

    def lives(self) -> dict[str, Life]:
        """The lives of all signing certificates: `identity`, `bootstrap`, each application by its name, and
        `granted/NAME` for each that an administrator granted, once it was issued for."""
        fixed = self.authorities
        granted = {str(name): grant for name, grant in self._grants.items()}
        lives = {name: Life.of(authority.blessing) for name, authority in {**fixed, **granted}.items()}
        return lives | {f"granted/{name}": life for name, life in self._granted_lives.items()}

    @property
    def authorities(self) -> dict[str, Authority]:
        """The long-lived signing authorities, by their roles."""
        given = {} if self.given is None else {"identity": self.given.signing}
        return {**given, "bootstrap": self.bootstrap}

    def sign_replica(
        self,
        application: Name,
        pod_name: str,
        key: PublicKey,
        *,
        now: datetime,
        ttl: timedelta,
        dns_names: Iterable[str] = (),
    ) -> Blessing:
        """A leaf for a replica under its application, for `ttl` or the issuer's remaining life.

        Raises Forbidden for an application that is not under the authority's name, Unavailable when the
        issuer has nothing or almost nothing left.
        """
        above, grant = self.identity.signing, self._grants.get(application)
        if not application.is_extension_of(above.name):
            raise Forbidden(
                "NotGranted", f"this agent may name what is under {above.name}, not {application}"
            )
        self.check_terms(now)
        ttl = min(ttl, self.identity.longest_ttl or ttl)
        life = None if grant is None else Life.of(grant.blessing)
        with _signing(above.name, life, Life.of(above.blessing), now, ttl, GRANT_LIFETIME) as what:
            if grant is None or what.renew:
                extension = ":".join(application.components[len(above.name.components) :])
                blessing = above.grant(self.issuing.public_key, extension, now=now, lifetime=GRANT_LIFETIME)
                grant = self._grants[application] = Authority(self.issuing, blessing)
            return grant.bless(key, pod_name, now=now, lifetime=what.ttl, dns_names=dns_names)

    def check_terms(self, now: datetime) -> None:
        """Raises Unavailable when the authority may not sign at `now`."""
        if refusal := self.identity.refusal:
            raise Unavailable("RootKeyMissing", refusal)
        self.check_view(now)

    def check_view(self, now: datetime) -> None:
        """Raises Unavailable when the roots were read too long before `now` to be published.

        Publishing needs no key: an agent that cannot sign yet still gives replicas the root that it will sign
        under.
        """
        until = self.identity.until
        if until is not None and now > until:
            raise Unavailable(
                "RootsNotRead",
                f"the roots were last read long before {until.isoformat()}; try again",
            )

    def sign_granted(
        self,
        chain: Blessing,
        pod_name: str,
        key: PublicKey,
        *,
        now: datetime,
        ttl: timedelta,
        dns_names: Iterable[str] = (),
    ) -> Blessing:
        """A leaf for a replica under an administrator's grant for its application, for `ttl` or the grant's
        remaining life. Raises Unavailable."""
        self.check_terms(now)
        life = self._granted_lives[chain.presented] = Life.of(chain)
        ttl = min(ttl, self.identity.longest_ttl or ttl)
        with _signing(chain.presented, life, life, now, ttl, GRANT_LIFETIME) as what:
            return Authority(self.issuing, chain).bless(
                key, pod_name, now=now, lifetime=what.ttl, dns_names=dns_names
            )

    def sign_bootstrap(self, *, now: datetime) -> BootstrapCredential:
        """A new bootstrap credential with a random identifier of 128 bits. Raises Unavailable."""
        life = Life.of(self.bootstrap.blessing)
        with _signing(self.bootstrap.name, None, life, now, BOOTSTRAP_LIFETIME, BOOTSTRAP_LIFETIME) as what:
            identifier, principal = secrets.token_hex(16), Principal.create()
            blessing = self.bootstrap.bless(
                principal.public_key, identifier, now=now, lifetime=what.ttl, usages=[CLIENT]
            )
        return BootstrapCredential(identifier, principal, blessing)


def warn_of_ending(room: SigningRoom, now: datetime) -> None:
    """Logs which authority should have been renewed long ago, and how long it has left."""
    for role, authority in room.authorities.items():
        life = Life.of(authority.blessing)
        if is_ending(life, now):
            _log.warning(
                "signing certificate ends",
                authority=role,
                name=str(authority.name),
                notAfter=life.not_after.isoformat(),
                secondsLeft=int(life.left(now).total_seconds()),
            )


@contextmanager
def _signing(
    name: Name, issuer: Life | None, above: Life, now: datetime, ttl: timedelta, lifetime: timedelta
) -> Iterator[Plan]:
    """Around a signature under `name`: how to sign, from `plan`. Raises Unavailable when the issuer ends too
    soon, or cannot bless."""
    what = plan(issuer, above, now=now, ttl=ttl, lifetime=lifetime)
    if not what.ttl:
        raise Unavailable(
            "IssuerEnding",
            f"the signing certificate of {name} ends at {what.ends.isoformat()}, too soon to sign with it; "
            "it must be renewed (docs/operations.md, Rotate and revoke)",
        )
    try:
        yield what
    except CannotBless as error:
        raise Unavailable("CannotSign", str(error)) from error
