"""Which Pods are evicted, and when, by values and a turned clock: owners that make their Pods again, and a
webhook that is there, away, or cannot be reached."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from webhook.healer.diagnosis import Cause, FoundPod
from webhook.healer.memory import LONGEST_PAUSE_SECONDS, SETTLE_SECONDS, NamespaceMemory
from webhook.healer.plan import Left, Plan, in_turns, plan
from webhook.notices.subject import Subject


def owner(name: str = "web", kind: str = "ReplicaSet") -> Subject:
    return Subject("apps/v1", kind, name, f"uid-{name}")


def found(
    name: str, of: Subject | None = None, *, bare: bool = True, ready: bool = True, refused: str = ""
) -> FoundPod:
    cause = Cause.MISSING if bare and not refused else None
    return FoundPod(name, f"uid-{name}", "1", of, "2026-01-01T00:00:00Z", ready, not bare, cause, refused)


def bare(of: Subject, count: int, *, ready: bool = True) -> list[FoundPod]:
    return [found(f"{of.name}-{number}", of, ready=ready) for number in range(count)]


def proven() -> NamespaceMemory:
    return NamespaceMemory(is_proven=True)


def reasons(made: Plan) -> Counter[Left]:
    return Counter(why for _, why in made.left)


@dataclass
class World:
    """A namespace whose controllers make each evicted Pod again at once."""

    pods: list[FoundPod]
    memory: NamespaceMemory = field(default_factory=NamespaceMemory)
    is_injecting: bool = True
    makes_again: bool = True
    now: float = 0.0
    made: int = 0
    evictions: list[float] = field(default_factory=list)
    least_ready: int = 1 << 20

    def round(self, seconds: float = 1.0) -> Plan:
        """The Pods made since the last round are ready; then a survey, and what follows from it."""
        self.now += seconds
        self.pods = [one._replace(is_ready=True) for one in self.pods]
        self.memory.observe(self.pods, self.now)
        chosen = plan(self.pods, self.memory, self.now)
        before = list(self.pods)
        for one in chosen.evictions:
            assert one.owner is not None
            present = [each for each in before if each.owner == one.owner]
            self.memory.evicted(one.owner, present, self.now)
            self.evictions.append(self.now)
            self.pods.remove(one)
            if self.makes_again:
                self.made += 1
                self.pods.append(
                    found(f"new-{self.made}", one.owner, bare=not self.is_injecting, ready=False)
                )
        self.least_ready = min(self.least_ready, sum(one.is_ready for one in self.pods))
        return chosen


def test_every_bare_pod_is_made_again_and_a_quarter_is_away_at_most() -> None:
    world = World(bare(owner(), 40))
    for _ in range(20):
        world.round()
    assert all(one.has_identity for one in world.pods)
    assert len(world.evictions) == len(world.pods) == 40
    assert world.least_ready >= 30


def test_the_last_ready_pod_of_an_owner_is_never_evicted() -> None:
    alone = plan(bare(owner(), 1), proven(), 0.0)
    assert (alone.evictions, reasons(alone)) == ([], {Left.LAST_READY: 1})
    others_are_not_ready = [*bare(owner(), 1), found("other", owner(), bare=False, ready=False)]
    assert plan(others_are_not_ready, proven(), 0.0).evictions == []


def test_a_pod_that_is_not_ready_is_evicted_first_and_costs_nobody_anything() -> None:
    crashing = found("crashing", owner(), ready=False)
    made = plan([*bare(owner(), 3), crashing], proven(), 0.0)
    assert made.evictions[0] == crashing
    assert plan([crashing], proven(), 0.0).evictions == [crashing]


def test_pods_that_nothing_makes_again_are_left() -> None:
    job = owner("batch", "Job")
    own = owner("thing", "Database")
    made = plan([found("alone"), found("batch-1", job), found("thing-1", own)], proven(), 0.0)
    assert made.evictions == []
    assert reasons(made) == {Left.UNOWNED: 1, Left.NOT_REMADE: 2}


def test_a_pod_that_the_webhook_would_refuse_is_not_evicted() -> None:
    pods = [found(f"web-{number}", owner(), refused="a clash") for number in range(3)]
    made = plan(pods, proven(), 0.0)
    assert (made.evictions, reasons(made)) == ([], {Left.REFUSED: 3})


def test_where_the_webhook_is_not_called_a_namespace_loses_one_pod_in_each_longer_pause() -> None:
    owners = [owner(f"web-{number}") for number in range(30)]
    world = World([one for each in owners for one in bare(each, 4)], is_injecting=False)
    for _ in range(7200):
        world.round()
    pauses = [after - before for before, after in pairwise(world.evictions)]
    assert len(world.evictions) < 10
    assert all(after > before for before, after in pairwise(pauses)), pauses
    # Once it is called, all are healed, after the pause at most.
    world.is_injecting = True
    world.round(LONGEST_PAUSE_SECONDS)
    for _ in range(200):
        world.round()
    assert all(one.has_identity for one in world.pods)


def test_attack_an_owner_whose_pods_never_get_an_identity_is_evicted_ever_more_rarely() -> None:
    """Its namespace's other owners are healed; the webhook's own judgement does not foresee it."""
    world = World([*bare(owner("good"), 8), *bare(owner("bad"), 8)])
    bad = owner("bad")
    for _ in range(3600):
        world.round()
        world.pods = [
            found(f"again-{one.name}", bad) if one.owner == bad and one.has_identity else one
            for one in world.pods
        ]
    assert all(one.has_identity for one in world.pods if one.owner != bad)
    assert len(world.evictions) - 8 < 20


def test_an_owner_that_cannot_make_its_pods_again_loses_one_and_no_more() -> None:
    """A quota, or another webhook that refuses."""
    world = World(bare(owner(), 4), proven(), makes_again=False)
    for _ in range(int(SETTLE_SECONDS) * 3):
        world.round()
    assert len(world.pods) == 3


def test_while_a_budget_permits_none_the_owner_is_left_in_peace() -> None:
    pods, memory = bare(owner(), 8), proven()
    memory.hindered(owner(), pods, 0.0)
    assert reasons(plan(pods, memory, 1.0)) == {Left.PAUSING: 8}
    assert plan(pods, memory, 60.0).evictions != []
    # It is no failure, so the pause does not grow.
    memory.hindered(owner(), pods, 60.0)
    assert memory.owners[owner()].failures == 0


def test_outdated_pods_are_made_again_as_bare_ones_are() -> None:
    old = [one._replace(has_identity=True, cause=Cause.OUTDATED) for one in bare(owner(), 4)]
    world = World(old)
    for _ in range(10):
        world.round()
    assert not any(one.cause for one in world.pods)


def test_attack_thousands_of_pods_in_one_namespace_delay_no_other() -> None:
    many = plan(bare(owner(), 8000), proven(), 0.0)
    few = plan(bare(owner("shop"), 4), proven(), 0.0)
    order = [name for name, _ in in_turns([("hostile", many.evictions), ("shop", few.evictions)])]
    assert order[:2] == ["hostile", "shop"]
    assert len(many.evictions) == 2000


def test_what_is_remembered_of_owners_is_forgotten() -> None:
    world = World(bare(owner(), 4))
    for _ in range(10):
        world.round()
    assert world.memory.owners
    world.round(3 * LONGEST_PAUSE_SECONDS)
    assert world.memory.owners == {}
