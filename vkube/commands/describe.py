"""`vkube describe`: one replica, application, secret or revocation, with what belongs to it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.commands.get import (
    applications,
    delivery,
    find_replica,
    listing,
    replicas,
    revocations,
    secrets,
)
from vkube.commands.scope import namespace_of
from vkube.connection.cluster_agent import ClusterAgent, administering
from vkube.errors import NotFoundError, UsageError
from vkube.output.documents import Item, document
from vkube.output.fields import fields
from vkube.output.times import age, left

Find = Callable[[ClusterAgent, str, str | None], Item]
"""Finds one item, with what belongs to it: the name, and the namespace (None: any)."""
_T = TypeVar("_T")
_APPLICATION = ("namespace", "serviceAccount")


def replica(parser: argparse.ArgumentParser) -> Run:
    """Show one live replica: its names, certificate, and the publications that it has acknowledged."""
    parser.add_argument("subject", metavar="replica", help="name of its Pod, or its blessing name")
    return _describe(parser, find_described_replica, described_replica)


def application(parser: argparse.ArgumentParser) -> Run:
    """Show one application: how it got its name, what its replicas' certificates are like, its secrets and
    its live replicas."""
    parser.add_argument("subject", metavar="application", help="its service account, or its name")
    return _describe(parser, find_application, described_application)


def secret(parser: argparse.ArgumentParser) -> Run:
    """Show one bootstrap credential, never its key, and the live replicas that were issued under it."""
    parser.add_argument("subject", metavar="secret", help="the beginning of its id: vkube get secrets")
    return _describe(parser, find_secret, described_secret)


def revocation(parser: argparse.ArgumentParser) -> Run:
    """Show what is revoked, since when, and what ends the revocation."""
    parser.add_argument("subject", metavar="revocation", help="a service account, or a Pod's name or UID")
    return _describe(parser, find_revocation, described_revocation)


def _describe(parser: argparse.ArgumentParser, find: Find, described: Callable[[Item, datetime], str]) -> Run:
    shared.namespace(parser, every=True)
    shared.output(parser)
    shared.cluster_agent(parser)

    def run(options: argparse.Namespace) -> None:
        # A name and an id are unique in the cluster.
        anywhere = ":" in options.subject or find is find_secret
        namespace = None if anywhere and options.namespace is None else namespace_of(options)
        with administering(options) as agent:
            one = find(agent, options.subject, namespace)
        text = document(one, options.output)
        sys.stdout.write(described(one, datetime.now(UTC)) if text is None else text)

    return run


def find_described_replica(agent: ClusterAgent, name: str, namespace: str | None) -> Item:
    """A live replica, and in `published` what its publications are at. Raises NotFoundError."""
    one = find_replica(agent, name, namespace)
    return {**one, "published": agent.call("GET", "/v1/acknowledgements")["kinds"]}


def find_application(agent: ClusterAgent, name: str, namespace: str | None) -> Item:
    """An application that is registered, revoked, or has secrets or replicas; with all of these. Raises
    NotFoundError."""
    registered, live, kept = (
        applications(agent, namespace),
        replicas(agent, namespace),
        secrets(agent, namespace),
    )
    revoked = [one for one in revocations(agent, namespace) if one["kind"] == "application"]
    known: dict[tuple[str, str], str | None] = {_place(one): None for one in revoked}
    known |= {_place(one): one["name"].rpartition(":")[0] for one in live}
    known |= {_place(one): one["application"] for one in kept}
    known |= {_place(one): one["name"] for one in registered}
    place = _one_of(
        [place for place, its in known.items() if name in (place[1], its)],
        lambda place: "/".join(place),
        f"application {name}",
        "vkube get secrets -A and get applications -A list those that the cluster agent knows",
    )
    mine = [[one for one in some if _place(one) == place] for some in (registered, revoked, kept, live)]
    return {
        "name": known[place],
        **dict(zip(_APPLICATION, place, strict=True)),
        "registration": next(iter(mine[0]), None),
        "revocation": next(iter(mine[1]), None),
        "secrets": mine[2],
        "replicas": mine[3],
    }


def find_secret(agent: ClusterAgent, name: str, namespace: str | None) -> Item:
    """A secret by the beginning of its id, with its replicas. Raises NotFoundError, UsageError."""
    one = _one_of(
        [one for one in secrets(agent, namespace) if one["id"].startswith(name)],
        lambda one: str(one["id"]),
        f"secret {name}",
        "vkube get secrets -A lists those that are neither forgotten nor expired",
    )
    live = replicas(agent, one["namespace"])
    return {**one, "replicas": [replica for replica in live if replica["secret"] == one["id"]]}


def find_revocation(agent: ClusterAgent, name: str, namespace: str | None) -> Item:
    """A revocation of an application or a replica. Raises NotFoundError, UsageError."""
    found = revocations(agent, namespace)
    if not any(one["podUid"] == name for one in found):
        found = [one for one in found if name == one["pod" if one["kind"] == "replica" else "serviceAccount"]]
    else:
        found = [one for one in found if one["podUid"] == name]
    return _one_of(
        found,
        lambda one: str(one["podUid"] or "/".join(_place(one))),
        f"revocation of {name}",
        "vkube get revocations -A lists those in force",
    )


def described_replica(one: Item, now: datetime) -> str:
    """A replica, field by field."""
    rows: list[tuple[str, object]] = [
        ("Name", one["name"]),
        ("Namespace", one["namespace"]),
        ("Service account", one["serviceAccount"]),
        ("Pod", one["pod"]),
        ("Pod UID", one["podUid"]),
        ("Certificate", f"serial {one['serial']}, until {_end(one['notAfter'], now)}"),
        ("Public key", one["publicKey"]),
        ("Issued under", f"secret {one['secret']}"),
    ]
    if delivery(one) == "volume":
        rows.append(("Delivery", "volume: its kubelet renews the certificate, and tells of no publications"))
        return fields(rows)
    for kind, state in one["published"].items():
        has = one["acknowledged"].get(kind, 0)
        current = "up to date" if has >= state["required"] else f"needs {state['required']}"
        rows.append((f"Has {kind}", f"version {has}, {current}"))
    return fields(rows)


def described_application(one: Item, now: datetime) -> str:
    """An application, field by field, and its replicas as a table."""
    registered, revoked = one["registration"], one["revocation"]
    rows: list[tuple[str, object]] = [
        ("Name", one["name"]),
        ("Namespace", one["namespace"]),
        ("Service account", one["serviceAccount"]),
        ("Named by", "registration" if registered else "its namespace and service account"),
    ]
    if registered:
        ttl, until = registered["ttlSeconds"], registered["grantedUntil"]
        rows += [
            ("Certificates live for", f"{ttl}s" if ttl else "the cluster agent's time"),
            ("Granted until", _end(until, now) if until else "no grant is needed"),
        ]
        if names := registered.get("dnsNames"):
            rows.append(("DNS names", ", ".join(names)))
        if objection := registered.get("objection"):
            rows.append(("Would be refused now", objection))
    rows.append(("Revoked", _since(revoked["revokedAt"], now) if revoked else "no"))
    rows += [("Secret", f"{item['id']}, until {_end(item['notAfter'], now)}") for item in one["secrets"]]
    return fields([*rows, ("Live replicas", len(one["replicas"]))]) + _table(one["replicas"], now)


def described_secret(one: Item, now: datetime) -> str:
    """A secret, field by field, and its replicas as a table."""
    rows: list[tuple[str, object]] = [
        ("Id", one["id"]),
        ("Namespace", one["namespace"]),
        ("Service account", one["serviceAccount"]),
        ("Application", one["application"]),
        ("Created", _since(one["createdAt"], now)),
        ("Good until", _end(one["notAfter"], now)),
        ("Live replicas", len(one["replicas"])),
    ]
    return fields(rows) + _table(one["replicas"], now)


def described_revocation(one: Item, now: datetime) -> str:
    """A revocation, field by field."""
    ends = f"vkube reinstate {one['serviceAccount']} -n {one['namespace']}"
    if one["kind"] == "replica":
        ends = "nothing: it is listed until its last certificate has ended"
    rows: list[tuple[str, object]] = [
        ("Kind", one["kind"]),
        ("Namespace", one["namespace"]),
        ("Service account", one["serviceAccount"]),
        ("Pod", one["pod"]),
        ("Pod UID", one["podUid"]),
        ("Revoked", _since(one["revokedAt"], now)),
        ("Ended by", ends),
    ]
    return fields([row for row in rows if row[1] is not None])


def _one_of(found: Sequence[_T], named: Callable[[_T], str], what: str, hint: str) -> _T:
    if not found:
        raise NotFoundError(f"there is no {what}: {hint}")
    if len(found) > 1:
        raise UsageError(f"{what} means several: {', '.join(map(named, found[:10]))}; name one of them")
    return found[0]


def _place(one: Item) -> tuple[str, str]:
    return str(one["namespace"]), str(one["serviceAccount"])


def _end(until: str, now: datetime) -> str:
    remaining = left(until, now)
    return f"{until} ({remaining})" if remaining == "expired" else f"{until} ({remaining} left)"


def _since(time: str, now: datetime) -> str:
    return f"{time} ({age(time, now)} ago)"


def _table(found: Sequence[Item], now: datetime) -> str:
    return f"\n{listing('replica', now).text(found, 'table')}" if found else ""
