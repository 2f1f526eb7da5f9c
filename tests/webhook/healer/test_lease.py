"""The election of the replica that heals: of several, one; and another one when that is gone."""

from __future__ import annotations

from typing import Any

from certs.api_server import ApiServerRefusal
from webhook.healer.lease import LEASE_SECONDS, Lease


class Store:
    """One Lease, with compare-and-swap."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.writes = 0

    def json(self, method: str, _path: str, *, body: Any = None) -> Any:
        if method == "GET":
            if self.lease is None:
                raise ApiServerRefusal(404)
            return self.lease
        version = body["metadata"].get("resourceVersion")
        current = None if self.lease is None else self.lease["metadata"]["resourceVersion"]
        if version != current:
            raise ApiServerRefusal(409)
        self.writes += 1
        metadata = {**body["metadata"], "resourceVersion": str(self.writes)}
        # Each renewal differs, as its time does.
        self.lease = {"metadata": metadata, "spec": {**body["spec"], "renewTime": self.writes}}
        return self.lease


class Replica:
    """One replica, with a clock of its own."""

    def __init__(self, store: Store, name: str, start: float) -> None:
        self.time = start
        api: Any = store
        self.lease = Lease(api, "vanadium-system", name, clock=lambda: self.time)


def test_of_two_replicas_one_heals_and_the_other_follows_when_it_is_gone() -> None:
    store = Store()
    first, second = Replica(store, "first", 1000.0), Replica(store, "second", 5.0)
    assert first.lease.acquire()
    assert not second.lease.acquire()
    for _ in range(10):
        for one in (first, second):
            one.time += 15
        assert first.lease.acquire()
        assert not second.lease.acquire()
        assert not second.lease.is_held
    # The first one hangs, and knows itself that it may no longer act before the other one may.
    first.time += LEASE_SECONDS
    second.time += LEASE_SECONDS
    assert not first.lease.is_held
    assert not second.lease.acquire()
    second.time += 1
    assert second.lease.acquire()
    assert not first.lease.acquire()


def test_of_two_that_find_it_free_one_gets_it() -> None:
    store = Store()
    first = Replica(store, "first", 0.0)

    class Late(Store):
        """The other replica takes the Lease between the reading and the writing."""

        def json(self, method: str, _path: str, *, body: Any = None) -> Any:
            if method == "GET":
                assert first.lease.acquire()
                raise ApiServerRefusal(404)
            return store.json(method, _path, body=body)

    assert not Replica(Late(), "second", 0.0).lease.acquire()
    assert first.lease.is_held
