"""A claimed agent with a registry, under the test's clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blessings import Blessing, Principal, Roots, verify_blessing
from cluster_agent.audit import Record
from cluster_agent.callers import Caller
from cluster_agent.model import Application
from cluster_agent.registry.registry import Registration
from tests.claims import CODE, Administrator
from tests.cluster_agents import AgentUnderClock
from tests.csrs import csr_of

WEB = Application("shop", "web")


class Claimed(AgentUnderClock):
    """A claimed agent, and its registry."""

    def __init__(self, directory: Path, store_url: str) -> None:
        super().__init__(directory, store_url, claimable=True)
        self.code_file = directory / "code"
        self.code_file.write_text(CODE)
        self.root = Administrator(self.clock())

    async def claim(self) -> None:
        claiming = self.claim_keeper(self.code_file, lambda _: None)
        await claiming.claim(**self.root.claim(self.room.issuing.public_key))

    def chief(self, extension: str = "administrator") -> Caller:
        _, blessing = self.root.leaf(extension)
        return self.caller(blessing)

    async def put(self, registration: Registration) -> None:
        """Registers as another replica of the agent does, before it revokes what was issued before."""
        now = self.clock()
        row = registration.row(self.room.issuing, now)
        await self.store.registered.put(row, Record("registered", now), own_name="acme:prod:shop:web")

    def grant(self, extension: str, **changes: Any) -> str:
        keywords = {"path_length": 0, **changes}
        return self.root.grant(self.room.issuing.public_key, extension, **keywords)

    async def register(
        self,
        name: str,
        chain: str | None = None,
        *,
        application: Application = WEB,
        ttl: int | None = None,
        dns_names: Sequence[str] | None = None,
        share: bool = False,
    ) -> Registration:
        return await self.registrar.register(
            self.chief(), application, name, ttl, chain, dns_names, share_dns_names=share
        )

    async def registered(self) -> list[tuple[Registration, str | None]]:
        """The registrations, and the objections to their names."""
        page = await self.registrar.registered(self.chief())
        return [(one.registration, one.objection) for one in page.listed]

    async def issue(self, application: Application = WEB, csr: str | None = None) -> Blessing:
        """A pod's blessing, from a new credential."""
        issued = await self.secrets.make(self.administrator(), application)
        token = self.token(namespace=application.namespace, service_account=application.service_account)
        caller = self.caller(issued.credential.blessing)
        answer = await self.issuer.seek_blessings(caller, csr or csr_of(Principal.create()), token, None)
        return answer.blessing

    def proven(self, blessing: Blessing) -> str:
        return str(verify_blessing(blessing, Roots.of(self.root.root.certificate), now=self.clock()))
