"""The healer's rounds: what it evicts and tells, and what hinders it. What an API server itself does of this
is in tests/deploy/test_healer.py."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from certs.api_server import ApiServerRefusal
from tests.pods import pod
from tests.webhook.applying import CONFIGURATION, injected
from webhook.healer.diagnosis import Physician
from webhook.healer.healer import Healer
from webhook.healer.lease import Lease
from webhook.metrics import HealerMetrics
from webhook.namespace_defaults import Defaults
from webhook.notices.subject import Subject
from webhook.volume_support import NOT_LOOKED


@dataclass
class Api:
    """Pods by namespace, whose owners make them again with the pod agent; and one Lease."""

    pods: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lease: dict[str, Any] = field(default_factory=dict)
    evicted: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    refusal: int | None = None
    broken: set[str] = field(default_factory=set)

    def add(self, namespace: str, count: int, **status: Any) -> None:
        for number in range(count):
            self.pods.setdefault(namespace, []).append(stored(f"{namespace}-{number}", **status))

    def json(self, method: str, path: str, *, body: Any = None, **_: Any) -> Any:
        parts = path.split("/")
        if "leases" in parts:
            if method != "GET":
                self.lease = body
            elif not self.lease:
                raise ApiServerRefusal(404)
            return self.lease
        namespace = parts[4]
        if method == "GET":
            if namespace in self.broken:
                raise ApiServerRefusal(500)
            return {"metadata": {}, "items": list(self.pods.get(namespace, []))}
        assert parts[-1] == "eviction"
        self.bodies.append(body)
        if self.refusal is not None:
            raise ApiServerRefusal(self.refusal)
        self.evicted.append(parts[6])
        mine = self.pods[namespace]
        mine[:] = [one for one in mine if one["metadata"]["name"] != parts[6]]
        mine.append(stored(f"new-{parts[6]}", injected(pod())))
        return {}


class Told:
    """What the healer tells, in place of Events."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []

    def note(self, namespace: str, subject: Subject, reason: str, text: str, *, is_warning: bool) -> None:
        self.notes.append((namespace, subject.name, reason))
        self.texts.append(text)


def stored(name: str, subject: dict[str, Any] | None = None) -> dict[str, Any]:
    made = subject or pod()
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}
    metadata = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7"}
    conditions = [{"type": "Ready", "status": "True"}]
    return {
        **made,
        "metadata": {**metadata, "ownerReferences": [reference]},
        "status": {"phase": "Running", "conditions": conditions},
    }


class Setting:
    """A healer on such an API server, with a clock that is turned."""

    def __init__(self, *, is_dry_run: bool = False, per_minute: float = 600) -> None:
        self.api, self.told, self.registry, self.time = Api(), Told(), CollectorRegistry(), 0.0
        api: Any = self.api
        told: Any = self.told
        self.healer = Healer(
            api,
            Lease(api, "vanadium-system", "first", clock=lambda: self.time),
            lambda: frozenset(self.api.pods),
            lambda: Physician(lambda _: Defaults(CONFIGURATION, {}), NOT_LOOKED),
            is_dry_run=is_dry_run,
            per_minute=per_minute,
            notices=told,
            metrics=HealerMetrics(self.registry),
            clock=lambda: self.time,
        )

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.time += self.healer.round()

    def count(self, result: str) -> float | None:
        name = "vanadium_webhook_healer_evictions_total"
        return self.registry.get_sample_value(name, {"result": result})


def test_bare_pods_are_evicted_as_they_were_found_and_told_to_their_owner() -> None:
    setting = Setting()
    setting.api.add("shop", 4)
    setting.rounds(10)
    assert sorted(setting.api.evicted) == [f"shop-{number}" for number in range(4)]
    assert setting.api.bodies[0]["deleteOptions"]["preconditions"] == {
        "uid": setting.api.evicted[0],
        "resourceVersion": "7",
    }
    assert set(setting.told.notes) == {("shop", "web", "PodHealed")}
    assert setting.count("Evicted") == 4


def test_a_dry_run_tells_and_evicts_nothing() -> None:
    setting = Setting(is_dry_run=True)
    setting.api.add("shop", 4)
    setting.rounds(3)
    assert (setting.api.bodies, set(setting.told.notes)) == ([], {("shop", "web", "PodWouldBeHealed")})


@pytest.mark.parametrize("is_dry_run", [False, True])
def test_an_owners_only_ready_pod_is_left_and_the_command_that_replaces_it_is_told(is_dry_run: bool) -> None:
    setting = Setting(is_dry_run=is_dry_run)
    setting.api.add("shop", 1)
    setting.rounds(1)
    assert (setting.api.bodies, setting.told.notes) == ([], [("shop", "web", "PodNotHealed")])
    assert setting.told.texts[0].endswith("only ready Pod of its owner: vkube restart shop replaces it first")
    labels = {"reason": "LastReady"}
    assert setting.registry.get_sample_value("vanadium_webhook_healer_left", labels) == 1


@pytest.mark.parametrize(("status", "result"), [(429, "Budget"), (403, "Failed")])
def test_what_refuses_an_eviction_is_asked_again_after_a_pause(status: int, result: str) -> None:
    setting = Setting()
    setting.api.add("shop", 4)
    setting.api.refusal = status
    setting.rounds(20)
    assert setting.count(result) == len(setting.api.bodies)
    assert 1 < len(setting.api.bodies) <= 1 + setting.time / 15
    setting.api.refusal = None
    setting.rounds(20)
    assert len(setting.api.evicted) == 4


def test_attack_a_namespace_that_cannot_be_surveyed_delays_no_other() -> None:
    setting = Setting()
    setting.api.add("a-broken", 2)
    setting.api.add("b-odd", 2)
    setting.api.add("shop", 4)
    setting.api.broken = {"a-broken"}
    setting.api.pods["b-odd"][0]["metadata"].pop("uid")
    setting.rounds(10)
    assert len(setting.api.evicted) == 4


def test_evictions_are_limited_in_all_namespaces_together() -> None:
    setting = Setting(per_minute=30)
    for number in range(20):
        setting.api.add(f"shop-{number}", 8)
    while setting.time < 120:
        setting.rounds(1)
    assert 40 < len(setting.api.evicted) <= 5 + 30 * setting.time / 60 + 1
    # The first ones in the alphabet have no more of them than the last ones.
    by_namespace = Counter(one.rpartition("-")[0] for one in setting.api.evicted)
    assert max(by_namespace.values()) - min(by_namespace.values()) <= 1
    assert len(by_namespace) == 20


def test_without_the_lease_nothing_is_done() -> None:
    setting = Setting()
    setting.api.add("shop", 4)
    setting.api.lease = {"spec": {"holderIdentity": "another", "renewTime": "now"}}
    setting.rounds(2)
    assert (setting.api.bodies, setting.told.notes) == ([], [])
