"""What the page shows, and that nothing which others write can be more than text in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.vkube.dashboard.sample import cluster_facts, event, facts, replica, sample
from vkube.dashboard.identities import Place
from vkube.dashboard.page import page
from vkube.dashboard.state import (
    AgentFacts,
    Reading,
    State,
    counted,
    groups,
    joined,
    lagging,
    newest_of_each_namespace,
    recorded,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "'><svg onload=alert(1)>",
    "</title></td></script><a href=javascript:alert(1)>",
    "&lt;b&gt; {{7*7}} ${7*7}",
)


class Parsed(HTMLParser):
    """The elements of a document, with their attributes, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def kinds(self) -> set[tuple[str, frozenset[str]]]:
        return {(tag, frozenset(attributes)) for tag, attributes in self.elements}

    def links(self) -> list[str]:
        return [str(one["href"]) for _, one in self.elements if "href" in one]


def shown(state: State, place: Place = Place()) -> Parsed:  # noqa: B008 - it is frozen
    return Parsed(page(state, place, NOW))


@pytest.mark.parametrize("text", HOSTILE)
def test_attack_text_of_tenants_is_only_text(text: str) -> None:
    """In every place that a tenant, a caller, an Event or the URL can write to."""
    usual = facts(NOW)
    hostile_record = {
        "at": "2026-11-28T11:00:00Z",
        "act": "refused",
        "caller": text,
        "message": text,
        "reason": text,
    }
    record = recorded(
        {"chain": text, "number": 1, "record": {**hostile_record, "path": text, "address": text}}
    )
    assert record is not None
    one = replica("acme:prod:shop:web", text, NOW, timedelta(minutes=5), namespace=text, acknowledged={})
    lacking = [{"namespace": text, "pod": text, "why": text}]
    told = event(text, NOW, text, text)
    state = State(
        text,
        Reading(
            replace(
                usual,
                replicas=[one, *usual.replicas],
                applications=[{"namespace": text, "serviceAccount": text, "name": text, "objection": text}],
                revocations=[{**usual.revocations[0], "pod": text, "podUid": text, "kind": text}],
                happenings=[*usual.happenings, record],
            ),
            NOW,
            text,
        ),
        Reading(replace(cluster_facts(NOW), without_identity=lacking, happenings=[told]), NOW, text),
    )
    harmless = replace(state, context="prod")
    for place in (Place(), Place(application=text), Place(search=text)):
        found = shown(state, place)
        assert text in found.text
        assert found.kinds() <= shown(sample(NOW), Place(search="nothing")).kinds() | _known_kinds(harmless)
        assert [link for link in found.links() if not link.startswith(("#", "?", "style.css"))] == []


def _known_kinds(state: State) -> set[tuple[str, frozenset[str]]]:
    """The elements of the same page with plain words instead."""

    def plain(value: Any) -> Any:
        if isinstance(value, str) and any(one in value for one in HOSTILE):
            return "plain"
        return value

    agent, cluster = state.agent.value, state.cluster.value
    assert agent is not None
    assert cluster is not None

    def items(some: Any) -> Any:
        return [{key: plain(value) for key, value in one.items()} for one in some]

    def happened(some: Any) -> Any:
        return [replace(one, key="k", kind=plain(one.kind), subject="plain", detail="plain") for one in some]

    calm = replace(
        state,
        agent=Reading(
            replace(
                agent,
                replicas=items(agent.replicas),
                applications=items(agent.applications),
                revocations=items(agent.revocations),
                happenings=happened(agent.happenings),
            ),
            NOW,
            "plain",
        ),
        cluster=Reading(
            replace(
                cluster,
                without_identity=items(cluster.without_identity),
                happenings=happened(cluster.happenings),
            ),
            NOW,
            "plain",
        ),
    )
    kinds = set()
    for place in (Place(), Place(application="plain"), Place(search="plain")):
        kinds |= shown(calm, place).kinds()
    return kinds


def test_attack_a_name_cannot_turn_the_direction_of_writing() -> None:
    one = replica("acme:prod:shop:web", "web-\u202eredael", NOW, timedelta(minutes=5))
    assert "\u202e" not in page(sample(NOW, replicas=[one]), Place(), NOW)


def test_attack_a_flood_of_events_of_one_namespace_hides_nothing() -> None:
    """Neither those of another namespace, nor tripwires; also with times of the future."""
    later = "2999-01-01T00:00:00Z"
    flood = [event("evil", NOW, f"Forged{number}", "x", lastTimestamp=later) for number in range(5000)]
    other = event("shop", NOW - timedelta(hours=3), "BootstrapCredentialMisused", "stolen")
    kept = joined((), newest_of_each_namespace([*flood, other]), NOW, timedelta(days=1))
    assert other in kept
    assert len(kept) <= 40
    refusals = [replace(other, key=str(number), at=NOW, grave=False) for number in range(5000)]
    assert other in joined(kept, refusals, NOW, timedelta(days=1))


def test_what_happens_all_the_time_is_left_out_and_a_tripwire_is_grave() -> None:
    def entry(act: str, **details: object) -> dict[str, Any]:
        return {"chain": "c", "number": 1, "record": {"act": act, "at": "2026-11-28T11:00:00Z", **details}}

    for routine in ("blessing-issued", "jwt-svid-issued"):
        assert recorded(entry(routine, caller="x")) is None
    assert recorded(entry("secret-forgotten", caller="x", certificates=0)) is None
    assert recorded(entry("secret-forgotten", caller="x", certificates=4)) is not None
    tripped = recorded(entry("refused", caller="vanadium-bootstrap:shop:web", reason="TokenMissing", count=2))
    assert tripped is not None
    assert (tripped.kind, tripped.grave) == ("Tripwire", True)
    for reason in ("SecretForgotten", "TokenExpired", "TooManyRequests"):
        refused = recorded(entry("refused", caller="vanadium-bootstrap:shop:web", reason=reason))
        assert refused is not None
        assert (refused.kind, refused.grave) == ("Refused", False), reason
    again = recorded(entry("refused", caller="vanadium-bootstrap:shop:web", reason="TokenMissing", count=2))
    assert again is not None
    later = replace(again, key="other", at=again.at + timedelta(hours=1))
    assert counted([tripped, later]) == [(later, 2)]
    lookalike = recorded(entry("refused", caller="vanadium-bootstrapper:x"))
    assert lookalike is not None
    assert not lookalike.grave


def test_the_tree_leads_from_roots_to_replicas_with_the_time_left() -> None:
    found = shown(sample(NOW))
    assert [tag for tag, _ in found.elements].count("h1") == 1
    assert sum(tag == "details" for tag, _ in found.elements) == 6
    headers = [one for one in found.elements if one[0] == "th"]
    assert headers
    assert all(attributes.get("scope") in ("col", "row") for _, attributes in headers)
    assert "all 24 replicas of acme:prod:search:indexer" in found.text
    assert "38 of 40" in found.text
    web = facts(NOW).replicas[0]
    assert web["pod"] in found.text
    assert "Tripwire" in found.text
    assert "the volume name vanadium-agent is taken" in found.text


def test_an_error_is_shown_with_the_last_data_and_their_age() -> None:
    usual = sample(NOW)
    failed = Reading(usual.agent.value, NOW - timedelta(minutes=5), "the cluster agent does not answer: wait")
    found = shown(replace(usual, agent=failed))
    assert "The cluster agent could not be read: the cluster agent does not answer: wait" in found.text
    assert "What it stated 5m ago is below" in found.text
    assert "acme:prod:shop:cart" in found.text
    assert found.text.strip().startswith("(1) gke_acme")
    never = shown(State("prod", Reading(error="log in again"), Reading()))
    assert "log in again" in never.text
    assert "API server not read yet" in never.text


def thousands() -> State:
    return sample(NOW, **vars(facts(NOW, {f"acme:prod:team-{number:03}:web": 40 for number in range(124)}
                                    | {"acme:prod:shop:web": 40, "acme:prod:shop:big": 5000})))  # fmt: skip


def test_every_one_of_ten_thousand_replicas_is_reachable_and_no_page_is_long() -> None:
    state = thousands()
    assert isinstance(state.agent.value, AgentFacts)
    assert len(state.agent.value.replicas) == 10_000
    for number in range(1, 4):
        assert len(page(state, Place(page=number), NOW)) < 500_000
    big = next(one for one in groups(state.agent.value.replicas) if one.name == "acme:prod:shop:big")
    seen = ""
    for number in range(1, 51):
        alone = shown(state, Place(application=big.name, page=number))
        assert len(alone.elements) < 3000
        seen += alone.text
    assert all(one["pod"] in seen for one in big.replicas)
    wanted = big.replicas[4321]
    found = shown(state, Place(search=wanted["pod"]))
    assert "1 live replicas contain" in found.text
    assert ("details", True) in [(tag, "open" in attributes) for tag, attributes in found.elements]


@pytest.mark.parametrize("page_number", ["0", "-1", "x", "9" * 50, "²", ""])
def test_a_page_that_is_not_there_is_the_nearest(page_number: str) -> None:
    place = Place.of({"page": page_number, "search": " web "})
    assert place.search == "web"
    assert "acme:prod:shop:web" in shown(sample(NOW), place).text


def test_replicas_by_volume_acknowledge_nothing_and_lag_behind_nothing() -> None:
    replicas = [
        {"name": "acme:prod:shop:web:web-1", "acknowledged": {}, "delivery": "volume"},
        {"name": "acme:prod:shop:web:web-2", "acknowledged": {}, "delivery": "sidecar"},
        {"name": "acme:prod:shop:web:web-3", "acknowledged": {}},
    ]
    assert lagging(replicas, {"crl": {"required": 1}}) == {
        "crl": ["acme:prod:shop:web:web-2", "acme:prod:shop:web:web-3"]
    }
