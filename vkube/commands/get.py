"""`vkube get`: what the cluster agent knows."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.commands.scope import namespace_of
from vkube.connection.cluster_agent import ClusterAgent, administering
from vkube.errors import NotFoundError
from vkube.output.documents import Column, Item, Listing
from vkube.output.times import left
from vkube.output.watch import Key, WatchOutput, changes

_WATCH_SECONDS = 2.0
_PAGE = 1000
# By what a watch tells items apart: a replica that renewed, or an application with a new name, is modified.
_KEYS: dict[str, Key] = {
    "replica": lambda one: one["podUid"],
    "application": lambda one: (one["namespace"], one["serviceAccount"]),
    "secret": lambda one: one["id"],
    "revocation": lambda one: (one["kind"], one["namespace"], one["serviceAccount"], one["podUid"]),
}
Read = Callable[[ClusterAgent, str | None], Sequence[Item]]
"""Reads the items of one namespace, or of all."""


def get_replicas(parser: argparse.ArgumentParser) -> Run:
    """List the live replicas: those with a valid certificate that are not revoked."""
    return _list(parser, "replica", replicas)


def get_applications(parser: argparse.ArgumentParser) -> Run:
    """List the registered applications. Those that are not listed are named after their namespace and service
    account."""
    return _list(parser, "application", applications)


def get_secrets(parser: argparse.ArgumentParser) -> Run:
    """List the bootstrap credentials that are neither forgotten nor expired; never the credentials
    themselves."""
    return _list(parser, "secret", secrets)


def get_revocations(parser: argparse.ArgumentParser) -> Run:
    """List the revoked applications and replicas. Those of deleted Pods are left out."""
    return _list(parser, "revocation", revocations)


def replicas(agent: ClusterAgent, namespace: str | None) -> list[Item]:
    """The live replicas, by name."""
    found = agent.pages("/v1/replicas", "replicas", limit=_PAGE, namespace=namespace)
    return sorted(found, key=lambda one: (one["namespace"], one["name"]))


def delivery(replica: Item) -> str:
    """`sidecar`, or `volume`: no pod agent tells what the replica has."""
    # An older version of the cluster agent does not send it.
    return str(replica.get("delivery", "sidecar"))


def applications(agent: ClusterAgent, namespace: str | None) -> list[Item]:
    """The registered applications."""
    return _within(agent.pages("/v1/applications", "applications"), namespace)


def secrets(agent: ClusterAgent, namespace: str | None) -> list[Item]:
    """The live secrets, by application and age."""
    found = agent.pages("/v1/secrets", "secrets", limit=_PAGE, namespace=namespace)
    key = ("namespace", "serviceAccount", "createdAt")
    return sorted(_within(found, namespace), key=lambda one: [one[name] for name in key])


def revocations(agent: ClusterAgent, namespace: str | None) -> list[Item]:
    """What is revoked. A Pod that is no longer known belongs to no namespace."""
    return _within(agent.pages("/v1/revocations", "revocations", limit=_PAGE), namespace)


def listing(kind: str, now: datetime) -> Listing:
    """How items of that kind are shown at `now`."""
    place = (
        Column("NAMESPACE", lambda one: one["namespace"]),
        Column("SERVICE ACCOUNT", lambda one: one["serviceAccount"]),
    )
    columns: dict[str, tuple[str, tuple[Column, ...], Callable[[Item], str]]] = {
        "replica": (
            "replicas",
            (
                place[0],
                Column("POD", lambda one: one["pod"]),
                Column("NAME", lambda one: one["name"]),
                Column("LEFT", lambda one: left(one["notAfter"], now)),
                Column("DELIVERY", delivery, wide=True),
                Column("SERVICE ACCOUNT", lambda one: one["serviceAccount"], wide=True),
                Column("SERIAL", lambda one: one["serial"], wide=True),
                Column("SECRET", lambda one: one["secret"], wide=True),
                Column("POD UID", lambda one: one["podUid"], wide=True),
                Column("ACKNOWLEDGED", _acknowledged, wide=True),
            ),
            lambda one: str(one["name"]),
        ),
        "application": (
            "registered applications",
            (
                *place,
                Column("NAME", lambda one: one["name"]),
                Column("TTL", lambda one: f"{one['ttlSeconds']}s" if one["ttlSeconds"] else None),
                Column("GRANT LEFT", lambda one: left(one["grantedUntil"], now)),
                # An older version of the cluster agent sends neither.
                Column("DNS NAMES", lambda one: ",".join(one.get("dnsNames", ())), wide=True),
                Column("OBJECTION", lambda one: one.get("objection")),
            ),
            lambda one: str(one["name"]),
        ),
        "secret": (
            "secrets",
            (
                *place,
                Column("ID", lambda one: one["id"]),
                Column("LEFT", lambda one: left(one["notAfter"], now)),
                Column("APPLICATION", lambda one: one["application"], wide=True),
                Column("CREATED", lambda one: one["createdAt"], wide=True),
            ),
            lambda one: str(one["id"]),
        ),
        "revocation": (
            "revocations",
            (
                Column("KIND", lambda one: one["kind"]),
                *place,
                Column("POD", lambda one: one["pod"]),
                Column("REVOKED", lambda one: one["revokedAt"]),
                Column("POD UID", lambda one: one["podUid"], wide=True),
            ),
            _revoked_name,
        ),
    }
    plural, shown, name = columns[kind]
    return Listing(kind.capitalize(), plural, shown, name)


def _list(parser: argparse.ArgumentParser, kind: str, read: Read) -> Run:
    shared.namespace(parser, every=True)
    shared.output(parser, watch=True)
    shared.cluster_agent(parser)

    def run(options: argparse.Namespace) -> None:
        namespace = namespace_of(options)
        with administering(options) as agent:
            items = read(agent, namespace)
            where = "" if namespace is None else f" in the namespace {namespace} (-A lists all)"
            if not options.watch:
                listing(kind, datetime.now(UTC)).show(items, options.output, where=where)
                return
            printed = WatchOutput(options.output, with_events=options.output_watch_events)
            before: Sequence[Item] = ()
            while True:
                if found := changes(before, items, _KEYS[kind]):
                    printed.show(listing(kind, datetime.now(UTC)), found)
                time.sleep(_WATCH_SECONDS)
                before, items = items, read(agent, namespace)

    return run


def find_replica(agent: ClusterAgent, name: str, namespace: str | None) -> Item:
    """The live replica with that blessing name, or of that Pod. Raises NotFoundError."""
    found = [one for one in replicas(agent, namespace) if name in (one["name"], one["pod"])]
    if not found:
        where = "" if namespace is None else f" in the namespace {namespace}"
        raise NotFoundError(
            f"no live replica is called {name}{where}: vkube get replicas -A lists them, and vkube "
            "explain states why a Pod has no identity"
        )
    return found[0]


def _acknowledged(one: Item) -> str:
    return ",".join(f"{kind}={version}" for kind, version in sorted(one["acknowledged"].items()))


def _revoked_name(one: Item) -> str:
    return str(one["podUid"] or f"{one['namespace']}/{one['serviceAccount']}")


def _within(items: Any, namespace: str | None) -> list[Item]:
    return [one for one in items if namespace in (None, one["namespace"])]
