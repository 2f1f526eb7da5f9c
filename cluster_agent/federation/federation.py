"""The keeper of the federated bundles: their state in the store, which every replica of the agent follows,
and the administrators' changes. It is also their publication."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from blessings import Name, Principal
from cluster_agent.audit import Record
from cluster_agent.callers import Administrators, Caller, require_administrator
from cluster_agent.errors import Unavailable
from cluster_agent.federation.bundles import FederatedBundles, accepted_bundle, trust_domain_of
from cluster_agent.signing.signed_states import SignedStates
from cluster_agent.store.documents import Document

KIND = "federation"
_TRIES = 5
_STATES = SignedStates("federated bundles", FederatedBundles.from_json)
_log = structlog.get_logger("cluster_agent")


@dataclass
class Federation:
    """Keeps the federated bundles. `issuing` signs their state, so that write access to the database adds
    none; `prefix` is the agent's own."""

    records: Document
    issuing: Principal
    prefix: Name
    administrators: Administrators
    now: Callable[[], datetime]
    kind: str = KIND
    state: FederatedBundles = field(default_factory=FederatedBundles, init=False)

    @property
    def version(self) -> int:
        return self.state.version

    @property
    def required(self) -> int:
        return self.state.version

    def after(self, _version: int, _applications: Collection[str] = ()) -> object:
        return {"bundles": self.state.by_domain}

    async def look(self) -> None:
        """Follows the state in the store. Raises Unavailable, StoreError."""
        row = await self.records.read()
        read = FederatedBundles() if row is None else _STATES.opened(row, self.issuing)
        if read.version < self.state.version:
            # An old state has a valid signature, and may contain a bundle that was removed.
            _log.error("older federated bundles not taken up", version=read.version, known=self.state.version)
            return
        if read.version != self.state.version:
            _log.info("federated bundles", version=read.version, trustDomains=list(read.by_domain))
        if read != self.state:  # else readers keep sharing the bytes of its answer
            self.state = read

    async def put(self, caller: Caller, trust_domain: str, bundle: object) -> None:
        """Adds the bundle of a trust domain, or replaces it. Raises Refusal."""
        require_administrator(caller, self.administrators)
        domain = trust_domain_of(trust_domain, self.prefix)
        accepted = accepted_bundle(bundle, domain)
        record = Record(
            "bundle-federated",
            self.now(),
            str(caller.name),
            {"trustDomain": str(domain), "keys": len(accepted["keys"])},
        )
        await self._change(lambda state: state.having(domain, accepted), record)

    async def remove(self, caller: Caller, trust_domain: str) -> None:
        """Removes the bundle of a trust domain. Raises Refusal."""
        require_administrator(caller, self.administrators)
        domain = trust_domain_of(trust_domain, self.prefix)
        record = Record("bundle-removed", self.now(), str(caller.name), {"trustDomain": str(domain)})
        await self._change(lambda state: state.without(domain), record)

    async def _change(self, step: Callable[[FederatedBundles], FederatedBundles], record: Record) -> None:
        for _ in range(_TRIES):
            await self.look()
            state = step(self.state)
            if await self._write(state, record):
                self.state = state
                return
        raise Unavailable("FederationBusy", "others change the federated bundles at the same time; try again")

    async def _write(self, state: FederatedBundles, record: Record) -> bool:
        signed = _STATES.signed(state, self.issuing)
        if state.version == 1:
            return await self.records.begin(signed, record)
        return await self.records.replace(state.version - 1, signed, record)
