"""The tree of identities: root → applications → replicas with the time that they have left.

Thousands of replicas stay readable, because the page has at most some hundred rows of them: applications are
in pages, each shows a few replicas, and one of them can be seen alone, in pages too. A search goes over all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import TypeVar
from urllib.parse import urlencode

from vkube.dashboard.html import Child, Markup, element
from vkube.dashboard.parts import Row, section, table
from vkube.dashboard.state import AgentFacts, ApplicationGroup, groups
from vkube.output.documents import Item
from vkube.output.times import left

_APPLICATIONS, _REPLICAS, _OF_EACH = 50, 100, 10
_OPEN = 12
_LONGEST_SEARCH = 253
_MOST_PAGES = 100_000
_T = TypeVar("_T")


@dataclass(frozen=True)
class Place:
    """What the reader has chosen: a text that names contain, one application, a page. It is in the URL."""

    search: str = ""
    application: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Place:
        """From the URL. What cannot be meant is left out."""
        page = query.get("page", "1")
        number = int(page) if page.isascii() and page.isdigit() and len(page) <= 6 else 1
        return cls(
            query.get("search", "").strip()[:_LONGEST_SEARCH],
            query.get("application", "")[:1000],
            min(max(1, number), _MOST_PAGES),
        )

    def link(self) -> str:
        """Where this place is, in a link of the page."""
        chosen = {"search": self.search, "application": self.application}
        if self.page > 1:
            chosen["page"] = str(self.page)
        return f"?{urlencode({key: value for key, value in chosen.items() if value})}#identities"


def identities(facts: AgentFacts, place: Place, now: datetime) -> Markup:
    """The section."""
    found = groups(facts.replicas, place.search)
    longest = max((one["notAfter"] for one in facts.replicas), default="")
    scale = (datetime.fromisoformat(longest) - now).total_seconds() if longest else 0.0
    content = (_one_application if place.application else _tree)(found, place, now, scale)
    total = sum(len(one.replicas) for one in found)
    return section("identities", "Identities", _form(place), _counted(total, len(found), place), content)


def _form(place: Place) -> Markup:
    return element(
        "form",
        element("label", "Names that contain", for_="search"),
        element(
            "input", type="search", name="search", id="search", value=place.search, maxlength=_LONGEST_SEARCH
        ),
        element("button", "Find", type="submit"),
        method="get",
        action="?#identities",
        role="search",
        data_keep=True,
    )


def _counted(replicas: int, applications: int, place: Place) -> Markup:
    if not place.search:
        return element("p", f"{replicas} live replicas of {applications} applications", id="counted")
    everything = element("a", "show all", href=replace(place, search="", page=1).link())
    what = f"{replicas} live replicas contain “{place.search}”: "
    return element("p", what, everything, id="counted")


def _tree(found: Sequence[ApplicationGroup], place: Place, now: datetime, scale: float) -> Iterable[Child]:
    shown, pages = _page(found, place, _APPLICATIONS)
    few = sum(len(one.replicas) for one in shown) <= _OPEN
    roots = []
    for root, some in groupby(shown, lambda one: one.root):
        applications = [
            _application(one, place, now, scale, opened=few or bool(place.search)) for one in some
        ]
        roots.append(
            element("li", element("h3", root, class_="name"), element("ul", applications), data_key=root)
        )
    heads = (element("span", one) for one in ("Application", "Replicas", "First ends in"))
    yield element("p", heads, class_="heads", aria_hidden="true")
    yield element("ul", roots, class_="tree")
    yield _pages(place, pages)


def _application(one: ApplicationGroup, place: Place, now: datetime, scale: float, *, opened: bool) -> Markup:
    count = len(one.replicas)
    summary = element(
        "summary",
        element("span", one.name, class_="name"),
        element("span", f"{count} replica{'s' if count != 1 else ''}", class_="count"),
        element(
            "span",
            element("span", "first ends in", class_="unseen"),
            _bar(one.first_ends, now, scale),
            left(one.first_ends, now),
            class_="left",
        ),
    )
    more = None
    if count > _OF_EACH:
        alone = replace(place, application=one.name, page=1).link()
        more = element("p", element("a", f"all {count} replicas of {one.name}", href=alone))
    replicas = _replicas(one.replicas[:_OF_EACH], now, scale)
    return element("li", element("details", summary, replicas, more, open=opened), data_key=one.name)


def _one_application(
    found: Sequence[ApplicationGroup], place: Place, now: datetime, scale: float
) -> Iterable[Child]:
    back = replace(place, application="", page=1).link()
    yield element("p", element("a", "← all applications", href=back))
    yield element("h3", place.application, class_="name")
    chosen = next((one for one in found if one.name == place.application), None)
    if chosen is None:
        yield element("p", "It has no live replica.")
        return
    shown, pages = _page(chosen.replicas, place, _REPLICAS)
    yield _replicas(shown, now, scale)
    yield _pages(place, pages)


def _replicas(some: Iterable[Item], now: datetime, scale: float) -> Markup:
    rows = (
        Row(
            one["podUid"],
            (
                element("span", one["pod"], class_="name", title=one["name"]),
                one["namespace"],
                element("span", _bar(one["notAfter"], now, scale), left(one["notAfter"], now), class_="left"),
            ),
        )
        for one in some
    )
    return table(("Replica", "Namespace", "Time left"), rows, class_="replicas")


def _bar(ends: str, now: datetime, scale: float) -> Markup:
    """How much time is left, beside the replica that has most. The text beside it states the same."""
    seconds = (datetime.fromisoformat(ends) - now).total_seconds()
    width = round(max(0.0, min(1.0, seconds / scale)) * 100) if scale > 0 else 0
    bar = element("rect", width=width, height=10)
    return element(
        "svg", bar, class_="bar", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true"
    )


def _page(items: Sequence[_T], place: Place, size: int) -> tuple[Sequence[_T], int]:
    """The items of the page that was chosen, and how many pages there are."""
    pages = max(1, -(-len(items) // size))
    number = min(place.page, pages)
    return items[(number - 1) * size : number * size], pages


def _pages(place: Place, pages: int) -> Markup | None:
    if pages == 1:
        return None
    number = min(place.page, pages)
    before = element("a", "previous", href=replace(place, page=number - 1).link(), rel="prev")
    after = element("a", "next", href=replace(place, page=number + 1).link(), rel="next")
    return element(
        "nav",
        before if number > 1 else None,
        element("span", f"page {number} of {pages}"),
        after if number < pages else None,
        aria_label="Pages",
        class_="pages",
    )
