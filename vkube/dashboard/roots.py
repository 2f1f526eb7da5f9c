"""The section of the roots: their phases, and which replicas have acknowledged what is published."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from vkube.commands.roots import next_phase
from vkube.dashboard.html import Child, Markup, element
from vkube.dashboard.parts import Row, section, table
from vkube.dashboard.state import AgentFacts, lagging
from vkube.output.times import left

_MOST_NAMES = 10
_PUBLISHED = {"roots": "The roots", "crl": "Revocation lists"}


def roots(facts: AgentFacts, now: datetime) -> Markup:
    """The section."""
    return section("roots", "Roots, and who has acknowledged them", _roots(facts, now), _publications(facts),
                   _objections(facts))  # fmt: skip


def _roots(facts: AgentFacts, now: datetime) -> Iterator[Child]:
    agent = facts.agent
    yield element("p", f"Root: {agent['root']}, recognised for {', '.join(facts.patterns) or 'no name'}. "
                  f"Tokens are checked by {agent['attestor']}.")  # fmt: skip
    if facts.roots is None:
        return
    rows = [
        Row(
            one["key"],
            (
                element("span", one["key"][:11] + "…", class_="key", title=one["key"]),
                element("span", one["phase"], class_=f"phase {one['phase']}"),
                left(one["notAfter"], now),
                f"{one['acknowledged']} of {one['liveReplicas']}"
                if one.get("liveReplicas") is not None
                else "-",
                next_phase(one) or "-",
            ),
        )
        for one in facts.roots
    ]
    yield table(("Key", "Phase", "Time left", "Acknowledged", "Next"), rows, class_="wide labelled")


def _publications(facts: AgentFacts) -> Markup:
    late = lagging(facts.replicas, facts.agent["publications"])
    rows = []
    for kind, one in sorted(facts.agent["publications"].items()):
        names = late[kind]
        waits: Child = "nobody"
        if names:
            rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            waits = [
                element("ul", [element("li", name, class_="name") for name in names[:_MOST_NAMES]]),
                rest or None,
            ]
        acknowledged = f"{one['acknowledged']} of {one['liveReplicas']}"
        rows.append(Row(kind, (_PUBLISHED.get(kind, kind), one["version"], acknowledged, waits)))
    return table(("Published", "Version", "Acknowledged", "Waits for"), rows, class_="wide labelled")


def _objections(facts: AgentFacts) -> Markup | None:
    rows = [
        Row(f"{one['namespace']}/{one['serviceAccount']}", (one["name"], one["objection"]))
        for one in facts.applications
        if one.get("objection")
    ]
    return table(("Name that would be refused now", "Why"), rows) if rows else None
