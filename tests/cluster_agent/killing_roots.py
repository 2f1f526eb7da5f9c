"""Rotations of the identity root, and what is left of them after a kill."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from blessings import Blessing, Name, Principal, Roots, verify_blessing
from cluster_agent.root_keys import RootKeys
from cluster_agent.signing import ROOT_LIFETIME
from tests.cluster_agent.killed import Records, post
from tests.cluster_agents import RunningClusterAgent, pod_token
from tests.csrs import csr_of

Phases = dict[str, str]


@dataclass
class Rotator:
    """Prepares a root, activates it, withdraws the one before; over and over, by force."""

    known: Phases | None = None
    asked: list[str] = field(default_factory=list)
    answered: int = 0

    def act(self, agent: RunningClusterAgent, administrator: httpx.Client) -> None:
        phases = self.known if self.known is not None else _phases(administrator)
        self.known = phases
        step, body = self._next(phases)
        if step == "prepare" and "keys_directory" in agent.flags:
            # As an administrator would, where replicas share the keys.
            keys = RootKeys(agent.keys_directory, Name.parse("acme"), ROOT_LIFETIME, makes_keys=True)
            keys.make(datetime.now(UTC))
        self.asked[:] = [step]
        answer = post(administrator, f"/v1/identity-roots/{step}", body)
        self.known = {one["key"]: one["phase"] for one in answer["roots"]}
        self.asked.clear()
        self.answered += 1

    def wrong(
        self, agent: RunningClusterAgent, administrator: httpx.Client, _url: str, _records: Records
    ) -> list[str]:
        problems = []
        seen = _phases(administrator)
        if self.known is not None:
            allowed = [self._after(self.known, step, seen) for step in self.asked]
            if seen not in (self.known, *allowed):
                problems.append(f"the roots are {seen}, they were {self.known}, and asked was {self.asked}")
        if sorted(seen.values()) not in (["active"], ["active", "prepared"], ["active", "retiring"]):
            problems.append(f"no state of a rotation: {seen}")
        self.known = seen
        self.asked.clear()
        return problems + _signs_under_what_it_serves(agent)

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


def _phases(administrator: httpx.Client) -> Phases:
    answer = administrator.get("/v1/identity-roots").raise_for_status().json()
    return {one["key"]: one["phase"] for one in answer["roots"]}


def _signs_under_what_it_serves(agent: RunningClusterAgent) -> list[str]:
    secret = agent.new_secret(service_account="signed")
    token = pod_token(agent.tokens, service_account="signed", pod_uid=secret["id"])
    with agent.credential_client(secret["credential"]) as client:
        answer = post(client, "/v1/seek-blessings", {"csr": csr_of(Principal.create()), "token": token})
        served = Roots.from_json(client.get("/v1/roots").json()["roots"])
    verify_blessing(Blessing.from_pem(answer["chain"]), served, now=datetime.now(UTC))
    return []
