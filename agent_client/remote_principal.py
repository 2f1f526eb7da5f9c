"""The pod's principal, through the agent protocol: the key stays in the pod agent.

principal: BlessedPrincipal = RemotePrincipal(AgentClient())
principal.blessings.choose(peer)          # the pod's current blessing
principal.bless(phone_key, "phone", now=now, lifetime=hour)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from agent_client.client import AgentClient
from blessings import Blessing, BlessingStore, CannotBless, Caveat, Name, PublicKey, ReadOnly, Roots


class RemotePrincipal:
    """The pod's principal. Implements `blessings.BlessedPrincipal`.

    Every answer comes from a new call, because key and blessing rotate. Every method may raise AgentError.
    Blessings for peers last until the next renewal. The pod agent's own blessing and its roots cannot be
    changed from here, and it makes no roots: `bless_self` and `set_roots` raise ReadOnly.
    """

    def __init__(self, agent: AgentClient) -> None:
        self._agent = agent

    @property
    def public_key(self) -> PublicKey:
        return self._agent.chain().blessing.public_key

    @property
    def blessings(self) -> BlessingStore:
        return self._agent.blessings()

    @property
    def roots(self) -> Roots:
        return self._agent.roots()

    def sign(self, message: bytes) -> bytes:
        return self._agent.sign(message).signature

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
        """As the interface, by the agent's clock: `now` is not sent. Raises CannotBless for any other
        `blessing`."""
        if blessing is not None and blessing != self._agent.chain().blessing:
            raise CannotBless("the pod agent blesses only with the blessing that it serves now")
        return self._agent.bless(public_key, extension, lifetime=lifetime, caveats=caveats)

    def bless_self(self, name: Name, *, now: datetime, lifetime: timedelta) -> Blessing:
        raise ReadOnly("the pod agent's key makes no root")

    def set_blessings(self, blessings: BlessingStore) -> None:
        """Changes those for peers. Raises ReadOnly for another default."""
        held = self.blessings
        if blessings.default != held.default:
            raise ReadOnly("the pod agent's default is what the cluster agent gave it")
        wanted, kept = dict(blessings.for_peers), dict(held.for_peers)
        for pattern in kept.keys() - wanted.keys():
            self._agent.forget_for_peers(pattern)
        for pattern, blessing in wanted.items():
            if kept.get(pattern) != blessing:
                self._agent.keep_for_peers(pattern, blessing)

    def set_roots(self, roots: Roots) -> None:
        raise ReadOnly("the pod agent recognises only the roots that the cluster agent gave it")
