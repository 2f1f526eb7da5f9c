"""What the page shows, as values: what was read, when, and what could not be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from vkube.commands.audit import about
from vkube.commands.get import delivery
from vkube.output.documents import Item

_T = TypeVar("_T")
_BOOTSTRAP = "vanadium-bootstrap"
# Reasons of a token that does not prove the caller's Pod start so. The harmless ones state a wrong time, or
# that nobody could review the token.
_TOKEN, _HARMLESS = "Token", frozenset({"TokenExpired", "TokenNotYetValid", "TokenReviewUnavailable"})
_MOST_GRAVE, _MOST_OTHERS = 200, 300
_MOST_EVENTS_OF_NAMESPACE = 20
# What happens all the time by itself.
_ROUTINE = frozenset(
    {
        "audit-begun",
        "blessing-issued",
        "issuer-renewed",
        "jwt-svid-issued",
        "pod-gone",
        "secret-forgotten",
        "secret-made",
    }
)


@dataclass(frozen=True)
class Reading(Generic[_T]):
    """What a source has: the last value with its time, and why there is no later one."""

    value: _T | None = None
    read_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class Happening:
    """Something that happened. `key` tells it from every other; `grave` asks for a look at once."""

    key: str
    at: datetime
    kind: str
    subject: str
    detail: str
    grave: bool = False


@dataclass(frozen=True)
class AgentFacts:
    """What the cluster agent states. `roots` is None when it did not make its roots itself."""

    agent: Item
    replicas: Sequence[Item]
    applications: Sequence[Item]
    revocations: Sequence[Item]
    roots: Sequence[Item] | None
    patterns: Sequence[str]
    happenings: Sequence[Happening]


@dataclass(frozen=True)
class ClusterFacts:
    """What the API server states."""

    without_identity: Sequence[Item]
    happenings: Sequence[Happening]


@dataclass(frozen=True)
class State:
    """Everything that the page shows."""

    context: str
    agent: Reading[AgentFacts] = field(default_factory=Reading)
    cluster: Reading[ClusterFacts] = field(default_factory=Reading)


@dataclass(frozen=True)
class ApplicationGroup:
    """The live replicas of one application, those that end first before the others."""

    name: str
    namespace: str
    replicas: Sequence[Item]

    @property
    def root(self) -> str:
        return self.name.partition(":")[0]

    @property
    def first_ends(self) -> str:
        return str(self.replicas[0]["notAfter"])

    @property
    def last_ends(self) -> str:
        return str(self.replicas[-1]["notAfter"])


def groups(replicas: Iterable[Item], wanted: str = "") -> list[ApplicationGroup]:
    """The applications by name, with the replicas whose name contains `wanted`."""
    found: dict[str, list[Item]] = defaultdict(list)
    for one in replicas:
        if wanted in one["name"]:
            found[one["name"].rpartition(":")[0]].append(one)
    return [
        ApplicationGroup(
            name, some[0]["namespace"], sorted(some, key=lambda one: (one["notAfter"], one["name"]))
        )
        for name, some in sorted(found.items())
    ]


def lagging(replicas: Iterable[Item], publications: Mapping[str, Item]) -> dict[str, list[str]]:
    """The names of the replicas that have not acknowledged what they need, by kind of publication. Those by
    volume acknowledge nothing."""
    found: dict[str, list[str]] = {kind: [] for kind in publications}
    for one in replicas:
        if delivery(one) == "volume":
            continue
        for kind, published in publications.items():
            if one["acknowledged"].get(kind, 0) < published["required"]:
                found[kind].append(one["name"])
    return found


def recorded(entry: Mapping[str, Any]) -> Happening | None:
    """What a record of the audit tells; None for what happens all the time."""
    record = entry["record"]
    act, caller = str(record["act"]), str(record.get("caller") or "")
    if act in _ROUTINE and not record.get("certificates"):
        return None
    tripwire = act == "refused" and _trips(caller, str(record.get("reason")))
    return Happening(
        key=f"{entry['chain']}/{entry['number']}",
        at=datetime.fromisoformat(record["at"]),
        kind="Tripwire" if tripwire else act.replace("-", " ").capitalize(),
        subject=caller or ("a caller without a name" if act == "refused" else "the cluster agent"),
        detail=_refusal(record) if act == "refused" else about(record),
        grave=tripwire,
    )


def _trips(caller: str, reason: str) -> bool:
    return caller.partition(":")[0] == _BOOTSTRAP and reason.startswith(_TOKEN) and reason not in _HARMLESS


def _refusal(record: Mapping[str, Any]) -> str:
    said = ": ".join(str(record[key]) for key in ("reason", "message") if record.get(key))
    count = record.get("count", 1)
    where = [f"at {record.get('path')}", f"from {record['address']}" if record.get("address") else ""]
    return " ".join(one for one in (said, *where, f"({count} times)" if count != 1 else "") if one)


def told(event: Mapping[str, Any], now: datetime) -> Happening:
    """What an Event tells. Who may write Events in a namespace can have written it, with any time."""
    metadata = event["metadata"]
    times = (event.get("eventTime"), event.get("lastTimestamp"), metadata["creationTimestamp"])
    involved = event.get("involvedObject") or {}
    count = event.get("count")
    repeated = f" ({count} times)" if isinstance(count, int) and count > 1 else ""
    return Happening(
        key=str(metadata["uid"]),
        at=min(now, datetime.fromisoformat(next(one for one in times if one))),
        kind="Event",
        subject="/".join(dict.fromkeys((str(metadata["namespace"]), str(involved.get("name") or "")))),
        detail=f"{event.get('reason')}: {event.get('message')}{repeated}",
        grave=event.get("reason") == "BootstrapCredentialMisused",
    )


def newest_of_each_namespace(events: Iterable[Happening]) -> list[Happening]:
    """At most a few of each namespace, so that nobody's Events push out those of others."""
    kept: dict[str, list[Happening]] = defaultdict(list)
    for one in events:
        some = kept[one.subject.partition("/")[0]]
        some.append(one)
        some.sort(key=_newest_first)
        del some[_MOST_EVENTS_OF_NAMESPACE:]
    return [one for some in kept.values() for one in some]


def joined(
    older: Iterable[Happening], newer: Iterable[Happening], now: datetime, keep: timedelta
) -> list[Happening]:
    """Both without repetitions, the newest first, without what is older than `keep`. Grave ones are pushed
    out by grave ones only."""
    by_key = {one.key: one for one in (*older, *newer) if now - one.at <= keep}
    newest = sorted(by_key.values(), key=_newest_first)
    kept = [one for one in newest if one.grave][:_MOST_GRAVE]
    kept += [one for one in newest if not one.grave][:_MOST_OTHERS]
    return sorted(kept, key=_newest_first)


def counted(found: Iterable[Happening]) -> list[tuple[Happening, int]]:
    """Equal ones together, as the newest of them and how many there are; the newest first."""
    together: dict[tuple[str, str, str], list[Happening]] = defaultdict(list)
    for one in found:
        together[one.kind, one.subject, one.detail].append(one)
    newest = [(min(same, key=_newest_first), len(same)) for same in together.values()]
    return sorted(newest, key=lambda pair: _newest_first(pair[0]))


def _newest_first(one: Happening) -> tuple[float, str]:
    return -one.at.timestamp(), one.key
