"""Which namespaces are labelled and which service accounts they have, kept up to date by watching.

List, then watch from the list's resourceVersion, as Kubernetes describes it
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
import urllib3
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from webhook.layout import ENABLED, INJECT_LABEL

# The API server ends a watch after some minutes anyway; asking for it makes a dead connection end too.
_WATCH_SECONDS = 240
_LONGEST_PAUSE_SECONDS = 30.0
_FAILURES = (ApiException, urllib3.exceptions.HTTPError, OSError)

_log = structlog.stdlib.get_logger("webhook.reconciler")


@dataclass(frozen=True)
class Listing:
    """A list call of the Kubernetes client, and the options that it is made with.

    The call itself, not a wrapper: the client's watch reads from its documentation what it returns.
    """

    what: str
    call: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)


class Cluster:
    """The labelled namespaces and their service accounts, as last seen; safe for several threads."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        """`changed` is called with a namespace's name whenever something about it changed."""
        self._changed = changed
        self._lock = threading.Lock()
        self._namespaces: set[str] = set()
        self._accounts: set[tuple[str, str]] = set()
        self._listed = {"namespaces": threading.Event(), "service accounts": threading.Event()}

    def service_accounts(self, namespace: str) -> frozenset[str] | None:
        """Those of a labelled namespace; None for one that is not labelled or does not exist."""
        with self._lock:
            if namespace not in self._namespaces:
                return None
            return frozenset(account for where, account in self._accounts if where == namespace)

    def namespaces(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._namespaces)

    def wait_until_listed(self, seconds: float) -> bool:
        """Whether both lists have been read once; before, an empty namespace means nothing."""
        return all(event.wait(seconds) for event in self._listed.values())

    def watch_namespaces(self, api: client.CoreV1Api, stop: threading.Event) -> None:
        """Runs until `stop` is set."""
        selector = {"label_selector": f"{INJECT_LABEL}={ENABLED}"}
        for seen in _follow(Listing("namespaces", api.list_namespace, selector), stop):
            # What is created in a namespace that is being deleted is refused anyway.
            names = {item.metadata.name for item in seen.items if item.metadata.deletion_timestamp is None}
            going = {item.metadata.name for item in seen.items} - names
            with self._lock:
                touched = self._namespaces ^ names if seen.is_complete else names
                if seen.is_complete:
                    self._namespaces = names
                elif seen.is_deletion:
                    self._namespaces -= names
                else:
                    self._namespaces = (self._namespaces | names) - going
            self._tell("namespaces", touched | going)

    def watch_service_accounts(self, api: client.CoreV1Api, stop: threading.Event) -> None:
        """Runs until `stop` is set."""
        listing = Listing("service accounts", api.list_service_account_for_all_namespaces)
        for seen in _follow(listing, stop):
            accounts = {(item.metadata.namespace, item.metadata.name) for item in seen.items}
            with self._lock:
                touched = self._accounts ^ accounts if seen.is_complete else accounts
                if seen.is_complete:
                    self._accounts = accounts
                elif seen.is_deletion:
                    self._accounts -= accounts
                else:
                    self._accounts |= accounts
            self._tell("service accounts", {namespace for namespace, _ in touched})

    def _tell(self, what: str, namespaces: set[str]) -> None:
        self._listed[what].set()
        for namespace in namespaces:
            self._changed(namespace)


class Seen:
    """Objects as a list or a watch event shows them."""

    def __init__(self, items: list[Any], *, is_complete: bool, is_deletion: bool = False) -> None:
        self.items = items
        self.is_complete = is_complete
        self.is_deletion = is_deletion


def _follow(listing: Listing, stop: threading.Event) -> Iterator[Seen]:
    """The whole list, then each change; from the start again when the watch is lost."""
    pause = 1.0
    while not stop.is_set():
        try:
            found = listing.call(**listing.options)
            yield Seen(found.items, is_complete=True)
            pause = 1.0
            yield from _changes(listing, found.metadata.resource_version, stop)
        except _FAILURES as error:
            if not (isinstance(error, ApiException) and error.status == HTTPStatus.GONE):
                _log.warning(
                    "watch lost", what=listing.what, error=_brief(error), retrySeconds=round(pause, 1)
                )
                stop.wait(random.uniform(pause / 2, pause))  # noqa: S311 - spreads replicas, guards nothing
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _changes(listing: Listing, version: str, stop: threading.Event) -> Iterator[Seen]:
    while not stop.is_set():
        watching = watch.Watch()  # type: ignore[no-untyped-call]  # the client's watch has no types
        stream = watching.stream(  # type: ignore[no-untyped-call]
            listing.call, **listing.options, resource_version=version, timeout_seconds=_WATCH_SECONDS
        )
        for event in stream:
            if stop.is_set():
                watching.stop()  # type: ignore[no-untyped-call]
                return
            version = event["object"].metadata.resource_version
            yield Seen([event["object"]], is_complete=False, is_deletion=event["type"] == "DELETED")


def _brief(error: Exception) -> str:
    return f"{error.status} {error.reason}" if isinstance(error, ApiException) else type(error).__name__
