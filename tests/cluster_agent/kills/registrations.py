"""Registrations, and what is left of them after a kill."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.cluster_agent.kills.killed import Records, post
from tests.cluster_agents import RunningClusterAgent

Registered = tuple[str, int] | None


@dataclass
class Registrar:
    """Gives an application another name and life each time, or none. `asked` is what was not answered."""

    chance: random.Random
    account: str
    known: Registered = None
    asked: list[Registered] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)  # names, each of which was given once
    taken: set[str] = field(default_factory=set)  # by unregistering
    answered: int = 0

    def act(self, _agent: RunningClusterAgent, administrator: httpx.Client) -> None:
        made = post(administrator, "/v1/new-secret", self._application)
        self.secrets.add(made["id"])
        if self.known is not None and self.chance.random() < 0.3:
            self._ask(administrator, None)
        else:
            name = f"acme:prod:N{self.account}x{self.chance.randrange(10**9)}"
            self._ask(administrator, (name, self.chance.choice([300, 600, 900])))

    def wrong(
        self, _agent: RunningClusterAgent, administrator: httpx.Client, _url: str, records: Records
    ) -> list[str]:
        problems = []
        seen = self._seen(administrator)
        if seen not in (self.known, *self.asked):
            problems.append(f"{self.account} is registered as {seen}, not {self.known} or {self.asked}")
        if seen != self.known:
            self._note(seen)
        problems += self._wrong_records([one for one in records if one.get("serviceAccount") == self.account])
        listed = {one["id"] for one in administrator.get("/v1/secrets").json()["secrets"]}
        if self.asked and seen == self.asked[0]:
            # It happened; what it means for the secrets may be missing, until it is asked again.
            self._ask(administrator, seen)
            listed = {one["id"] for one in administrator.get("/v1/secrets").json()["secrets"]}
        elif lost := self.secrets - listed:
            problems.append(f"{self.account} was not renamed, and its secrets are gone: {lost}")
        self.asked.clear()
        if back := self.forgotten & listed:
            problems.append(f"secrets of {self.account}'s name of before are good: {back}")
        return problems

    @property
    def _application(self) -> dict[str, Any]:
        return {"namespace": "shop", "serviceAccount": self.account}

    def _ask(self, administrator: httpx.Client, wanted: Registered) -> None:
        self.asked[:] = [wanted]
        if wanted is None:
            post(administrator, "/v1/unregister-application", self._application)
        else:
            body = {**self._application, "name": wanted[0], "ttlSeconds": wanted[1]}
            post(administrator, "/v1/register-application", body)
        self._note(wanted)
        self.asked.clear()
        self.forgotten |= self.secrets
        self.secrets.clear()
        self.answered += 1

    def _note(self, happened: Registered) -> None:
        if happened is None:
            self.taken.update([] if self.known is None else [self.known[0]])
        else:
            self.given.add(happened[0])
        self.known = happened

    def _wrong_records(self, records: Records) -> list[str]:
        given = {one["name"] for one in records if one["act"] == "registered"}
        taken = {one["before"]["name"] for one in records if one["act"] == "unregistered"}
        return [
            f"{self.account}: names with a record and without, or the other way: {differ}"
            for differ in (given ^ self.given, taken ^ self.taken)
            if differ
        ]

    def _seen(self, administrator: httpx.Client) -> Registered:
        for one in administrator.get("/v1/applications").json()["applications"]:
            if one["serviceAccount"] == self.account:
                return one["name"], one["ttlSeconds"]
        return None
