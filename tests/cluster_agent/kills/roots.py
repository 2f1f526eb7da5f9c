"""Rotations of the identity root, and what is left of them after a kill."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from blessings import Blessing, Name, Principal, Roots, verify_blessing
from cluster_agent.roots.keys import RootKeys
from cluster_agent.signing.room import ROOT_LIFETIME
from tests.cluster_agent.kills.killed import Records, UnexpectedAnswerError, post
from tests.cluster_agents import RunningClusterAgent, pod_token
from tests.csrs import csr_of

Phases = dict[str, str]


@dataclass
class Rotator:
    """Prepares a root, activates it, withdraws the one before; over and over, by force."""

    known: Phases | None = None
    asked: list[str] = field(default_factory=list)
    version: int = 0
    answered: int = 0

    def act(self, agent: RunningClusterAgent, administrator: httpx.Client) -> None:
        if self.known is None:
            self.known = self._phases(administrator.get("/v1/identity-roots"))
        phases = self.known
        step, body = self._next(phases)
        if step == "prepare" and "keys_directory" in agent.flags:
            # As an administrator would, where replicas share the keys.
            keys = RootKeys(agent.keys_directory, Name.parse("acme"), ROOT_LIFETIME, makes_keys=True)
            keys.make(datetime.now(UTC))
        self.asked[:] = [step]
        self.known = self._phases(administrator.post(f"/v1/identity-roots/{step}", json=body))
        self.asked.clear()
        self.answered += 1

    def wrong(
        self, agent: RunningClusterAgent, administrator: httpx.Client, _url: str, records: Records
    ) -> list[str]:
        problems = []
        known = self.version
        seen = self._phases(administrator.get("/v1/identity-roots"))
        # One for each version; the agent itself may have taken a step since they were read.
        changes = sum(one["act"] == "roots-changed" for one in records)
        if not known <= changes <= self.version:
            problems.append(f"{changes} records of changes of the roots, from {known} to {self.version}")
        if self.known is not None:
            allowed = [self._after(self.known, step, seen) for step in self.asked]
            if seen not in (self.known, *allowed):
                problems.append(f"the roots are {seen}, they were {self.known}, and asked was {self.asked}")
        if sorted(seen.values()) not in (["active"], ["active", "prepared"], ["active", "retiring"]):
            problems.append(f"no state of a rotation: {seen}")
        self.known = seen
        self.asked.clear()
        return problems + _signs_under_what_it_serves(agent)

    def _phases(self, response: httpx.Response) -> Phases:
        if response.status_code != 200:
            raise UnexpectedAnswerError(f"{response.url}: {response.status_code} {response.text}")
        answer = response.json()
        self.version = answer["version"]
        return {one["key"]: one["phase"] for one in answer["roots"]}

    @staticmethod
    def _next(phases: Phases) -> tuple[str, dict[str, Any]]:
        of = {phase: key for key, phase in phases.items()}
        if "prepared" in of:
            return "activate", {"key": of["prepared"], "force": True}
        if "retiring" in of:
            return "withdraw", {"key": of["retiring"], "force": True}
        return "prepare", {}

    @staticmethod
    def _after(before: Phases, step: str, seen: Phases) -> Phases:
        if step == "prepare":
            new = seen.keys() - before.keys()
            return {**before, **dict.fromkeys(new, "prepared")} if len(new) == 1 else before
        if step == "activate":
            becomes = {"active": "retiring", "prepared": "active"}
            return {key: becomes[phase] for key, phase in before.items()}
        return {key: phase for key, phase in before.items() if phase != "retiring"}


def _signs_under_what_it_serves(agent: RunningClusterAgent) -> list[str]:
    secret = agent.new_secret(service_account="signed")
    token = pod_token(agent.tokens, service_account="signed", pod_uid=secret["id"])
    with agent.credential_client(secret["credential"]) as client:
        answer = post(client, "/v1/seek-blessings", {"csr": csr_of(Principal.create()), "token": token})
        served = Roots.from_json(client.get("/v1/roots").json()["roots"])
    verify_blessing(Blessing.from_pem(answer["chain"]), served, now=datetime.now(UTC))
    return []
