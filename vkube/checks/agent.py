"""Checks of what the cluster agent says of itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from vkube.checks.check import Check, Found, Problems, Verdict
from vkube.checks.facts import Facts

_SOON = timedelta(days=7)
_QUARTER = 0.25


def _answers(facts: Facts) -> Problems:
    if facts.agent is None:
        yield Found(facts.agent_problem or "it was not asked", "see its message; vkube logs cluster-agent")


def _says(name: str, problems: Callable[[dict[str, Any], Facts], Problems]) -> Check:
    def found(facts: Facts) -> Problems:
        if facts.agent is None:
            yield Found("the cluster agent was not reached", "see above", Verdict.SKIP)
        else:
            yield from problems(facts.agent, facts)

    return Check(f"cluster agent: {name}", found)


def _claimed(agent: dict[str, Any], _: Facts) -> Problems:
    if agent["health"]["root"] == "unclaimed":
        yield Found("it is not claimed, so it issues nothing", "vkube claim-cluster-agent")


def _attestor(agent: dict[str, Any], _: Facts) -> Problems:
    if agent["health"]["attestor"] != "token-review":
        yield Found(
            f"its attestor is {agent['health']['attestor']}: it does not notice deleted Pods",
            "within a cluster use --attestor token-review",
            Verdict.WARN,
        )


def _roots(agent: dict[str, Any], facts: Facts) -> Problems:
    for one in agent["roots"]:
        if one["phase"] == "active" and datetime.fromisoformat(one["notAfter"]) - facts.now < _SOON:
            yield Found(f"the active root ends at {one['notAfter']}", "vkube roots prepare, then activate")


def _acknowledged(agent: dict[str, Any], _: Facts) -> Problems:
    for kind, one in agent["publications"].items():
        if one["share"] < 1 - _QUARTER:
            yield Found(
                f"{one['acknowledged']} of {one['liveReplicas']} replicas have {kind} {one['required']}",
                "see vkube get replicas -o wide for those that lack it",
                Verdict.WARN,
            )


def _objections(agent: dict[str, Any], _: Facts) -> Problems:
    for one in agent["applications"]:
        if one.get("objection"):
            yield Found(
                f"{one['name']}: {one['objection']}",
                "register it under another name: vkube register",
                Verdict.WARN,
            )


def _grants(agent: dict[str, Any], facts: Facts) -> Problems:
    for one in agent["applications"]:
        until = one.get("grantedUntil")
        if until and datetime.fromisoformat(until) - facts.now < _SOON:
            yield Found(f"the grant of {one['name']} ends at {until}", "vkube register it again")


CHECKS: tuple[Check, ...] = (
    Check("cluster agent: answers", _answers),
    _says("is claimed", _claimed),
    _says("attests by the API server", _attestor),
    _says("its root lasts", _roots),
    _says("replicas have what was published", _acknowledged),
    _says("registered names are still allowed", _objections),
    _says("grants last", _grants),
)
