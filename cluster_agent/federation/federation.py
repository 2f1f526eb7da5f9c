"""The keeper of the federated bundles: their state in the store, which every replica of the agent follows,
and the administrators' changes. It is also their publication."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from blessings import BlessingsError, Name, Principal
from cluster_agent.audit import Record
from cluster_agent.callers import Administrators, Caller, require_administrator
from cluster_agent.errors import StoreError, Unavailable
from cluster_agent.federation.bundles import FederatedBundles, accepted_bundle, trust_domain_of
from cluster_agent.signing.signed_text import is_signed, signature_of
from cluster_agent.store.documents import Document, SignedDocument

KIND = "federation"
_TRIES = 5
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
        read = await self._read()
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
        document = state.to_json()
        signature = signature_of(_message(state.version, document), self.issuing)
        signed = SignedDocument(state.version, document, signature)
        if state.version == 1:
            return await self.records.begin(signed, record)
        return await self.records.replace(state.version - 1, signed, record)

    async def _read(self) -> FederatedBundles:
        row = await self.records.read()
        if row is None:
            return FederatedBundles()
        if not is_signed(_message(row.version, row.document), row.signature, self.issuing):
            raise StoreError(
                "the federated bundles in the store were not put there by a cluster agent with this issuing "
                "key"
            )
        try:
            return FederatedBundles.from_json(row.version, row.document)
        except (KeyError, TypeError, ValueError, BlessingsError) as error:
            raise StoreError(
                f"the federated bundles in the store cannot be read: {type(error).__name__}"
            ) from error


def _message(version: int, document: str) -> str:
    return f"federated bundles {version}\n{document}"
