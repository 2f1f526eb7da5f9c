"""The labelled namespaces and their service accounts, kept up to date by watches.

Each watch starts with a list and continues from the list's resourceVersion, as Kubernetes describes it
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from certs.api_server import WATCH_SECONDS, AnswerTooLong, ApiServerRefusal, BoundedApiClient
from service.watch_age import WatchAge
from webhook.layout import ENABLED, INJECT_LABEL
from webhook.namespace_defaults import NamespaceDefaults, inherited

# A server that sends events, but does not end its watch in time, has a wrong clock or is none.
_LATE_SECONDS = WATCH_SECONDS + 30
_PAGE = 500
# As objects, JSON takes up to twenty times as much. Tenants may make their objects as large as they can, so
# a page that is longer is asked for again with fewer of them.
_MOST_PAGE_BYTES = 4 << 20


class Cluster:
    """The labelled namespaces and their service accounts, as last seen. Safe for threads."""

    def __init__(self, changed: Callable[[str], None], defaults: NamespaceDefaults) -> None:
        """`changed` is called with a namespace's name whenever it or its set of accounts changed; `defaults`
        are told of its annotations."""
        self._changed = changed
        self._defaults = defaults
        self._lock = threading.Lock()
        self._namespaces: set[str] = set()
        self._accounts: dict[str, set[str]] = {}
        self._listed = {"namespaces": threading.Event(), "service accounts": threading.Event()}

    def service_accounts(self, namespace: str) -> frozenset[str] | None:
        """The service accounts of a labelled namespace; None for one that is not labelled or does not
        exist."""
        with self._lock:
            if namespace not in self._namespaces:
                return None
            return frozenset(self._accounts.get(namespace, ()))

    def namespaces(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._namespaces)

    def wait_until_listed(self, seconds: float) -> bool:
        """Whether both lists have been read once. Before that, an empty namespace means nothing."""
        return all(event.wait(seconds) for event in self._listed.values())

    def namespace_watch(self, api: BoundedApiClient) -> Watch:
        selector = {"labelSelector": f"{INJECT_LABEL}={ENABLED}"}
        return Watch(api, "/api/v1/namespaces", self.take_namespaces, selector)

    def service_account_watch(self, api: BoundedApiClient) -> Watch:
        return Watch(api, "/api/v1/serviceaccounts", self.take_service_accounts)

    def take_namespaces(self, seen: Seen) -> None:
        # Nothing can be created in a namespace that is being deleted, so those are left out.
        names = {item.name for item in seen.items if not item.is_going}
        going = {item.name for item in seen.items} - names
        with self._lock:
            touched = self._namespaces ^ names if seen.is_complete else names
            if seen.is_complete:
                self._namespaces = names
            elif seen.is_deletion:
                self._namespaces -= names
            else:
                self._namespaces = (self._namespaces | names) - going
        self._hand_over(seen)
        self._tell("namespaces", touched | going)

    def _hand_over(self, seen: Seen) -> None:
        if seen.is_complete:
            self._defaults.replace_all({item.name: item.inherited for item in seen.items})
            return
        for item in seen.items:
            self._defaults.take(item.name, None if seen.is_deletion else item.inherited)

    def take_service_accounts(self, seen: Seen) -> None:
        named: dict[str, set[str]] = {}
        for item in seen.items:
            named.setdefault(item.namespace, set()).add(item.name)
        with self._lock:
            if seen.is_complete:
                after = {**{namespace: set[str]() for namespace in self._accounts}, **named}
            else:
                join = set.difference if seen.is_deletion else set.union
                after = {one: join(self._accounts.get(one, set()), names) for one, names in named.items()}
            # An event that changes no set, such as another label, is not worth a look: a tenant can cause any
            # number of them.
            touched = {one for one, names in after.items() if names != self._accounts.get(one, set())}
            self._accounts.update({one: after[one] for one in touched if after[one]})
            for namespace in touched:
                if not after[namespace]:
                    del self._accounts[namespace]
        self._tell("service accounts", touched)

    def _tell(self, what: str, namespaces: set[str]) -> None:
        self._listed[what].set()
        for namespace in namespaces:
            self._changed(namespace)


@dataclass(frozen=True, slots=True)
class Item:
    """What is kept of a namespace or a service account."""

    namespace: str
    name: str
    is_going: bool
    inherited: Mapping[str, str] = field(default_factory=dict)
    """The annotations of a namespace that its Pods inherit."""

    @classmethod
    def of(cls, seen: Any) -> Item:
        metadata = seen["metadata"]
        is_going = metadata.get("deletionTimestamp") is not None
        namespace = metadata.get("namespace") or ""
        annotations = {} if namespace else inherited(metadata.get("annotations") or {})
        return cls(namespace, metadata["name"], is_going, annotations)


class Seen:
    """Objects from a list or a watch event."""

    def __init__(self, items: Sequence[Item], *, is_complete: bool, is_deletion: bool = False) -> None:
        self.items = items
        self.is_complete = is_complete
        self.is_deletion = is_deletion


class Watch:
    """A list that is followed in rounds."""

    def __init__(
        self,
        api: BoundedApiClient,
        path: str,
        take: Callable[[Seen], None],
        query: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`path` is that of the list, and `query` selects from it."""
        self._api = api
        self._path = path
        self._query = dict(query or {})
        self._take = take
        self._clock = clock
        self._version: str | None = None
        self.age = WatchAge(clock)

    def round(self) -> None:
        """Reads the whole list, at first and after a lost watch; then each change, until the server ends the
        watch. Raises what the client raises."""
        self.age.begin()
        # After a failure of any kind, the next round begins with the list.
        version, self._version = self._version, None
        if version is None:
            version = self.list()
        until = self._clock() + _LATE_SECONDS
        try:
            for event in self._api.events(self._path, version=version, query=self._query):
                if self._clock() > until:
                    raise TimeoutError(f"the watch did not end within {_LATE_SECONDS} s")
                self.age.heard()
                version = str(event["object"]["metadata"]["resourceVersion"])
                if event["type"] != "BOOKMARK":
                    deleted = event["type"] == "DELETED"
                    item = Item.of(event["object"])
                    self._take(Seen([item], is_complete=False, is_deletion=deleted))
        except ApiServerRefusal as error:
            if error.status == HTTPStatus.GONE:
                return
            raise
        self._version = version

    def list(self) -> str:
        """Takes the whole list, and returns its version. In pages: the JSON takes many times what is kept of
        it."""
        items: list[Item] = []
        limit, following = _PAGE, ""
        while True:
            page = {"limit": str(limit), **({"continue": following} if following else {})}
            most_bytes = None if limit == 1 else _MOST_PAGE_BYTES  # one object is as long as it is
            try:
                found = self._api.json(
                    "GET", self._path, query={**self._query, **page}, most_bytes=most_bytes
                )
            except AnswerTooLong:
                limit = max(1, limit // 8)
                continue
            self.age.heard()
            items += [Item.of(one) for one in found.get("items") or []]
            limit, following = min(_PAGE, limit * 2), found["metadata"].get("continue") or ""
            if not following:
                break
        self._take(Seen(items, is_complete=True))
        return str(found["metadata"]["resourceVersion"])
