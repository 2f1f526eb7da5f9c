"""The page: the whole document, and its top."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from vkube.commands.status import budget
from vkube.dashboard.html import Child, Markup, element
from vkube.dashboard.identities import Place, identities
from vkube.dashboard.parts import Row, section, table
from vkube.dashboard.roots import roots
from vkube.dashboard.state import Happening, Reading, State, counted
from vkube.output.documents import Item
from vkube.output.times import age, duration

_MOST_GRAVE, _MOST_OTHERS, _MOST_LISTED = 20, 40, 50
_STALE = timedelta(minutes=1)
_BUDGET = {"first": "the first", "10%": "10 %", "50%": "half", "90%": "90 %"}


def page(state: State, place: Place, now: datetime) -> str:
    """The document, for what the reader has chosen to see."""
    problems = list(_problems(state, now))
    title = f"{f'({len(problems)}) ' if problems else ''}{state.context} · vkube dashboard"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="stylesheet", href="style.css"),
        element("script", src="script.js", defer=True),
    )
    body = element(
        "body",
        element("a", "Skip to the identities", href="#identities", class_="skip"),
        element("header", _header(state, now), id="header"),
        element("main", _main(state, place, problems, now), id="main"),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en")


def _header(state: State, now: datetime) -> Iterable[Child]:
    who = state.agent.value.agent["administrator"] if state.agent.value else None
    yield element("h1", "Vanadium Cluster ", element("span", state.context, class_="context"))
    yield element(
        "p",
        _freshness("Cluster agent", state.agent, now),
        _freshness("API server", state.cluster, now),
        element("span", f"as {who}", class_="who") if who else None,
        id="freshness",
    )
    yield element(
        "p",
        element("span", "", id="connection", data_keep=True),
        element(
            "button", "Pause", type="button", id="pause", aria_pressed="false", hidden=True, data_keep=True
        ),
        element("noscript", "Reload the page to update it."),
        id="updates",
    )


def _freshness(name: str, reading: Reading[Any], now: datetime) -> Markup:
    if reading.read_at is None:
        what = "not read yet" if reading.error is None else "cannot be read"
    else:
        what = f"read {age(reading.read_at.isoformat(), now)} ago"
    return element("span", f"{name} {what}", class_="stale" if reading.error else "fresh")


def _problems(state: State, now: datetime) -> Iterable[Markup]:
    for name, reading in (("The cluster agent", state.agent), ("The API server", state.cluster)):
        if reading.error is None:
            continue
        rest = ""
        if reading.read_at is not None:
            rest = f"What it stated {age(reading.read_at.isoformat(), now)} ago is below."
        yield element("li", element("strong", f"{name} could not be read: "), f"{reading.error}. {rest}")


def _main(state: State, place: Place, problems: list[Markup], now: datetime) -> Iterable[Child]:
    alert = element("ul", problems, class_="problems") if problems else None
    yield element("div", alert, id="problems", role="alert")
    agent, cluster = state.agent.value, state.cluster.value
    lacking = list(cluster.without_identity) if cluster else []
    happened = [*(agent.happenings if agent else ()), *(cluster.happenings if cluster else ())]
    if agent is not None or cluster is not None:
        yield _glance(state, lacking, now)
    yield element(
        "div",
        element(
            "div",
            identities(agent, place, now) if agent else None,
            roots(agent, now) if agent else None,
            _revoked(agent.revocations, now) if agent else None,
            class_="column",
        ),
        element(
            "div",
            _without_identity(lacking) if cluster else None,
            _happenings(happened, now),
            class_="column",
        ),
        class_="columns",
    )


def _glance(state: State, lacking: list[Item], now: datetime) -> Markup:
    agent, cluster = state.agent.value, state.cluster.value
    facts: list[Markup] = []
    if agent is not None:
        applications = len({one["name"].rpartition(":")[0] for one in agent.replicas})
        trips = sum(one.grave for one in agent.happenings)
        refused = sum(one.kind == "Refused" for one in agent.happenings)
        objections = [one for one in agent.applications if one.get("objection")]
        facts += [
            _fact("Live replicas", f"{len(agent.replicas):,}".replace(",", "\u202f")),
            _fact("Applications", applications),
            _fact("Revoked", len(agent.revocations)),
            _fact("Refusals in a day", refused),
            _fact("Tripwires in a day", trips, "#happened", bad=trips > 0),
        ]
        if objections:
            facts.append(_fact("Names now refused", len(objections), "#roots", bad=True))
    if cluster is not None:
        facts.append(_fact("Pods without identity", len(lacking), "#lacking", bad=bool(lacking)))
    parts: list[Child] = [element("dl", facts, class_="facts")]
    if agent is not None and (spent := budget([one["notAfter"] for one in agent.replicas], now)):
        shares = [
            element("div", element("dt", _BUDGET[name]), element("dd", duration(timedelta(seconds=seconds))))
            for name, seconds in spent.items()
        ]
        parts.append(
            element(
                "div",
                element("p", "Replicas without a certificate, if the cluster agent went away now:"),
                element("dl", shares, class_="budget"),
                id="budget",
            )
        )
    return element("section", element("h2", "At a glance", class_="unseen"), parts, id="glance")


def _fact(name: str, value: Child, link: str | None = None, *, bad: bool = False) -> Markup:
    shown = element("a", value, href=link) if link and bad else value
    return element("div", element("dt", name), element("dd", shown), class_="bad" if bad else None)


def _without_identity(lacking: list[Item]) -> Markup:
    rows = [
        Row(f"{one['namespace']}/{one['pod']}", (one["namespace"], one["pod"], one["why"]))
        for one in lacking[:_MOST_LISTED]
    ]
    more = len(lacking) - len(rows)
    return section(
        "lacking",
        f"Pods without identity ({len(lacking)})",
        element("p", "Every Pod that should have an identity has one.")
        if not lacking
        else [
            table(("Namespace", "Pod", "Why"), rows, header=1, class_="wide"),
            element("p", f"And {more} more: vkube status -o json lists all.") if more > 0 else None,
            element("p", "What to do: ", element("code", "vkube explain POD -n NAMESPACE"), ", ",
                    element("code", "vkube restart NAMESPACE")),
        ],
    )  # fmt: skip


def _happenings(found: list[Happening], now: datetime) -> Markup:
    newest = counted(found)
    grave = [one for one in newest if one[0].grave][:_MOST_GRAVE]
    shown = grave + [one for one in newest if not one[0].grave][:_MOST_OTHERS]
    rows = [_happening(one, times, now) for one, times in newest if (one, times) in shown]
    return section(
        "happened",
        "What happened in the last day",
        element("p", "Nothing was refused or revoked.")
        if not rows
        else table(("When", "What", "Who, and why"), rows, header=1, class_="happenings wide"),
        element("p", f"The newest {len(rows)} of {len(newest)}. The rest: ", element("code", "vkube audit"))
        if len(newest) > len(rows)
        else None,
    )


def _happening(one: Happening, times: int, now: datetime) -> Row:
    when = element(
        "time",
        f"{age(one.at.isoformat(), now)} ago",
        datetime=one.at.isoformat(),
        title=one.at.isoformat(timespec="seconds"),
    )
    what = element("span", one.kind, class_="kind")
    who = element("span", one.subject, class_="name")
    more = element("span", f" ({times} times; this was the last)", class_="times") if times > 1 else None
    class_ = "grave" if one.grave else None
    return Row(
        f"{one.kind} {one.subject} {one.detail}", (when, what, [who, element("br"), one.detail, more]), class_
    )


def _revoked(revocations: Iterable[Item], now: datetime) -> Markup | None:
    newest = sorted(revocations, key=lambda one: str(one["revokedAt"]), reverse=True)
    if not newest:
        return None
    rows = [
        Row(
            f"{one['kind']} {one['podUid']} {one['namespace']}/{one['serviceAccount']}",
            (
                f"{one['namespace']}/{one['pod'] or one['serviceAccount']}"
                if one["namespace"]
                else one["podUid"],
                one["kind"],
                f"{age(one['revokedAt'], now)} ago",
            ),
        )
        for one in newest[:_MOST_LISTED]
    ]
    more = len(newest) - len(rows)
    return section(
        "revoked",
        f"Revoked ({len(newest)})",
        table(("What", "Kind", "When"), rows),
        element("p", f"And {more} more: vkube get revocations -A lists all.") if more > 0 else None,
    )
