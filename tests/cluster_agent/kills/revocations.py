"""Revocations, and what is left of them after a kill."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
from sqlalchemy import Connection, text

from blessings import Blessing, Principal, RevocationList
from tests.cluster_agent.kills.killed import Records, look_into, post
from tests.cluster_agents import RunningClusterAgent, pod_token
from tests.csrs import csr_of

_WHOLE = {"namespace": "shop", "serviceAccount": "whole"}
_WHOLE_NAME = "acme:prod:shop:whole"


@dataclass(frozen=True)
class Revocation:
    """One act, and what it is about."""

    by: str
    serial: str
    uid: str
    secret: str
    name: str

    @property
    def body(self) -> dict[str, Any]:
        bodies: dict[str, dict[str, Any]] = {
            "podUid": {"podUid": self.uid},
            "serial": {"serial": self.serial},
            "name": {"name": self.name},
            "secret": {"secret": self.secret},
            "application": {"application": _WHOLE},
        }
        return bodies[self.by]

    @property
    def record(self) -> tuple[str, str]:
        """What its audit record says."""
        return {
            "podUid": ("uid", self.uid),
            "serial": ("serial", self.serial),
            "name": ("name", self.name),
            "secret": ("secret", self.secret),
            "application": ("application", _WHOLE_NAME),
        }[self.by]


@dataclass
class Revoker:
    """Revokes a new replica each time, by one of the five ways, and reinstates applications."""

    chance: random.Random
    revoked: list[Revocation] = field(default_factory=list)
    asked: list[Revocation] = field(default_factory=list)
    whole: bool | None = False  # whether the application is revoked; None where that was not answered
    answered: int = 0
    _made: int = 0
    _numbered: tuple[int, int] | None = None  # certificates on the lists, and the last revocation's number

    def act(self, agent: RunningClusterAgent, administrator: httpx.Client) -> None:
        by = self.chance.choice(["podUid", "serial", "name", "secret", "application"])
        account = "whole" if by == "application" else "web"
        application = {**_WHOLE, "serviceAccount": account}
        if by == "application" and self.whole is not False:
            self.whole = None
            post(administrator, "/v1/reinstate", application)
            self.whole = False
            self.answered += 1
        secret = post(administrator, "/v1/new-secret", application)
        self._made += 1
        pod = f"r{self.chance.randrange(10**9)}"
        token = pod_token(agent.tokens, pod, service_account=account)
        with agent.credential_client(secret["credential"]) as client:
            body = {"csr": csr_of(Principal.create()), "token": token}
            chain = Blessing.from_pem(post(client, "/v1/seek-blessings", body)["chain"])
        one = Revocation(
            by, f"{chain.leaf.serial_number:x}", f"uid-of-{pod}", secret["id"], str(chain.presented)
        )
        self.asked[:] = [one]
        if by == "application":
            self.whole = None
        post(administrator, "/v1/revoke", one.body)
        if by == "application":
            self.whole = True
        self.asked.clear()
        self.revoked.append(one)
        self.answered += 1

    def wrong(
        self, _agent: RunningClusterAgent, administrator: httpx.Client, url: str, records: Records
    ) -> list[str]:
        index = administrator.get("/v1/crl").json()["lists"]
        answers = [
            administrator.get(f"/v1/crl/{one['issuer']}", params={"key": one["key"]}).content for one in index
        ]
        listed = {f"{serial:x}" for der in answers for serial in RevocationList.from_der(der).serials}
        said = [pair for one in records if one["act"] == "revoked" for pair in one.items()]
        return look_into(url, partial(self._wrong, listed, said))

    def _wrong(self, listed: set[str], said: list[tuple[str, Any]], connection: Connection) -> list[str]:
        def column(query: str) -> set[str]:
            return set(connection.scalars(text(query)))

        serials = column("SELECT serial FROM revoked_certificates")
        refused = column("SELECT pod_uid FROM revoked_replicas")
        forgotten = column("SELECT id FROM secrets WHERE forgotten_at IS NOT NULL")
        application = "whole" in column("SELECT service_account FROM revoked_applications")
        problems = []
        if missing := serials - listed:
            problems.append(f"revoked, and on no list: {missing}")
        if self.whole not in (None, application):
            problems.append(f"the application is revoked: {application}, answered was {self.whole}")
        for one in (*self.revoked, *self.asked):
            effects = [
                one.serial in serials,
                one.secret in forgotten if one.by in ("secret", "application") else one.uid in refused,
            ]
            if one.by != "application":
                effects.append(one.record in said)
            elif one in self.asked:
                effects.append(application)  # it was not before it was asked for
            if not all(effects) and (any(effects) or one in self.revoked):
                problems.append(f"revoked in part: {one}, {effects}")
        self.revoked += [one for one in self.asked if one.serial in serials]
        self.asked.clear()
        self.whole = application
        acts = sum(one.by == "application" for one in self.revoked)
        if (recorded := said.count(("application", _WHOLE_NAME))) != acts:
            problems.append(f"{recorded} records of {acts} revocations of the application")
        return problems + self._wrong_number(len(serials), connection)

    def _wrong_number(self, certificates: int, connection: Connection) -> list[str]:
        """A revocation has a number of its own on the lists, and there is none without one."""
        ((number, last),) = connection.execute(text("SELECT number, last_revocation FROM revocation_state"))
        before, at = self._numbered or (certificates, last)
        self._numbered = (certificates, last)
        if last <= number and (certificates > before) is (last > at):
            return []
        return [f"{before} certificates by number {at} became {certificates} by {last} of {number}"]
