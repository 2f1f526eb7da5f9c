"""Rotation of the identity root: any two live replicas verify each other at every instant, whatever happens
in whatever order. The certificates are real; the clock, and what replicas say, are the test's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blessings import Authority, Blessing, Name, Principal, Roots, VerificationError, verify_blessing
from cluster_agent.errors import BadRequest, Refusal, Unavailable
from cluster_agent.roots.rotation import Phase, RootSuccession, Schedule
from cluster_agent.signing.room import IdentityAuthority, SigningRoom
from tests.clock import Clock

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ACME, WEB = Name.parse("acme"), Name.parse("acme:prod:shop:web")
TTL = timedelta(hours=1)
SCHEDULE = Schedule(every=timedelta(days=2), share=1.0, longest_ttl=TTL, margin=timedelta(minutes=2))
AGENTS, PODS = 2, 3
_KEYS = [Principal.create() for _ in range(PODS)]


def root(now: datetime, lifetime: timedelta = timedelta(days=3650)) -> Authority:
    return Authority.create_root(ACME, Principal.create(), now=now, lifetime=lifetime)


@dataclass
class Pod:
    """A replica: what it shows, what it recognises, which bundle that is, and which it said that it has."""

    blessing: Blessing | None = None
    roots: Roots = field(default_factory=lambda: Roots(()))
    version: int = 0
    said: int = 0


class World:
    """Agents with views of one durable state, and pods. No process knows more than it would for real."""

    def __init__(self, schedule: Schedule = SCHEDULE) -> None:
        self.clock = Clock(NOW)
        self.schedule = schedule
        first = root(NOW)
        self.keys = {RootSuccession.begin(first.certificate, NOW, TTL).active.fingerprint: first}
        self.state = RootSuccession.begin(first.certificate, NOW, schedule.longest_ttl)
        self.views = [self.state] * AGENTS
        identity = IdentityAuthority.of_root(first)
        self.rooms = [SigningRoom(identity, Principal.create(), first) for _ in range(AGENTS)]
        self.pods = [Pod() for _ in range(PODS)]
        self.signed: set[str] = set()
        self.until = [NOW] * AGENTS
        for agent in range(AGENTS):
            self.look(agent)

    def look(self, agent: int) -> None:
        self.views[agent] = state = self.state
        self.until[agent] = until = self.clock() + self.schedule.view
        signing = Authority(
            self.keys[state.active.fingerprint].principal, Blessing((state.active.certificate,))
        )
        self.rooms[agent].follow(IdentityAuthority(signing, state.bundle, until, state.longest_ttl))

    def tick(self, _agent: int) -> None:
        """What happens all the time: every agent looks, one leads."""
        for agent in range(AGENTS):
            self.look(agent)
        self.lead(0)

    def renew(self, agent: int, pod: int) -> None:
        if self.clock() > self.until[agent]:
            with pytest.raises(Unavailable, match="the roots were last read long before"):
                self.sign(agent, pod)
            return
        blessing = self.sign(agent, pod)
        self.signed.add(self.views[agent].active.fingerprint)
        held = self.pods[pod]
        # Whatever it had from polling: an agent with an older view takes it back to that.
        held.blessing, held.roots = blessing, self.rooms[agent].identity_roots

    def sign(self, agent: int, pod: int) -> Blessing:
        key = _KEYS[pod].public_key
        return self.rooms[agent].sign_replica(
            WEB, f"web-{pod}", key, now=self.clock(), ttl=timedelta(hours=24)
        )

    def poll(self, agent: int, pod: int) -> None:
        """A pod says what it has, and gets what is newer at an agent whose view is fresh."""
        held, view = self.pods[pod], self.views[agent]
        held.said = held.version
        if self.clock() <= self.until[agent] and view.version != held.version:
            held.version, held.roots = view.version, view.bundle

    def forget(self, pod: int) -> None:
        self.pods[pod] = Pod()

    def lead(self, _agent: int) -> None:
        if self.state.needs_successor(self.clock(), self.schedule):
            self.prepare(0)
        self.state = self.state.advance(self.clock(), self.schedule, self.reached)

    def prepare(self, _agent: int) -> None:
        new = root(self.clock())
        self.command(lambda state: state.prepare(new.certificate, self.clock()))
        if self.state.prepared is not None:
            self.keys.setdefault(self.state.prepared.fingerprint, new)

    def activate(self, which: int) -> None:
        key = self.state.roots[which % len(self.state.roots)].fingerprint
        self.command(lambda state: state.activate(key, self.clock(), self.schedule, self.reached))

    def withdraw(self, which: int) -> None:
        key = self.state.roots[which % len(self.state.roots)].fingerprint
        self.command(lambda state: state.withdraw(key, self.clock(), self.schedule))

    def command(self, step: Callable[[RootSuccession], RootSuccession]) -> None:
        try:
            self.state = step(self.state)
        except BadRequest:
            return

    def live(self) -> list[Pod]:
        return [one for one in self.pods if one.blessing and self.clock() < one.blessing.not_after]

    def reached(self, version: int) -> float | None:
        live = self.live()
        return sum(one.said >= version for one in live) / len(live) if live else 1.0

    def check(self) -> None:
        for one in self.live():
            for other in self.live():
                assert one.blessing is not None
                verify_blessing(one.blessing, other.roots, now=self.clock())
        assert sum(one.phase is Phase.ACTIVE for one in self.state.roots) == 1
        assert RootSuccession.from_json(self.state.version, self.state.to_json()) == self.state


_ACTIONS = (
    *["tick", "renew"] * 4,
    *["look", "lead", "poll"] * 2,
    *["forget", "prepare", "activate", "withdraw"],
)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(_ACTIONS),
        st.integers(0, AGENTS - 1),
        st.integers(0, PODS - 1),
        # Mostly less than a certificate's life, so that live certificates span each phase.
        st.sampled_from([0, 1, 20, 59, 61, 130, 600, 600, 1200, 1700, 3500, 90000]),
    ),
    min_size=40,
    max_size=120,
)


def run(world: World, steps: list[tuple[str, int, int, int]]) -> None:
    for action, agent, pod, seconds in steps:
        if action in ("renew", "poll"):
            # A pod is answered by a replica that has looked lately, or refused.
            getattr(world, action)(agent, pod)
        elif action == "forget":
            world.forget(pod)
        else:
            getattr(world, action)(pod if action in ("activate", "withdraw") else agent)
        world.check()
        world.clock.turn(seconds=seconds)
        world.check()


@settings(max_examples=60)
@given(steps=_STEPS)
def test_any_two_live_replicas_verify_each_other_at_every_instant(
    steps: list[tuple[str, int, int, int]],
) -> None:
    world = World()
    for pod in range(PODS):
        world.renew(0, pod)
    run(world, steps)


def test_years_of_rotation_by_itself_go_through_every_phase() -> None:
    world = World()
    for step in range(2000):
        for agent in range(AGENTS):
            world.look(agent)
        world.lead(0)
        world.renew(step % AGENTS, step % PODS)
        world.poll((step + 1) % AGENTS, (step + 1) % PODS)
        world.check()
        world.clock.turn(minutes=15)
    assert len(world.signed) >= 9, "a new root each two days"
    assert len(world.state.roots) <= 3
    assert len(world.state.gone) >= len(world.signed) - 3


def started() -> World:
    """Three live replicas under the first root, and a second root that two of them have."""
    world = World()
    for pod in range(PODS):
        world.renew(0, pod)
    world.prepare(0)
    for agent in range(AGENTS):
        world.look(agent)
    for _ in range(2):
        for pod in range(PODS - 1):
            world.poll(0, pod)
    return world


def test_it_signs_once_every_live_replica_has_it_and_not_before() -> None:
    world = started()
    announce(world)
    world.lead(0)
    assert world.state.prepared is not None, "one has not said that it has it"
    for _ in range(2):
        world.poll(1, PODS - 1)
    world.lead(0)
    assert world.state.prepared is None


def announce(world: World) -> None:
    """The margin is over, and all but the last replica have said again that they have the root."""
    world.clock.turn(minutes=3)
    world.lead(0)
    for agent in range(AGENTS):
        world.look(agent)
    for _ in range(2):
        for pod in range(PODS - 1):
            world.poll(0, pod)


def test_who_said_so_and_then_asked_an_agent_that_lags_is_asked_again() -> None:
    world = World()
    for pod in range(PODS):
        world.renew(0, pod)
    world.clock.turn(seconds=30)
    world.look(1)
    world.prepare(0)
    world.look(0)
    for pod in range(PODS):
        world.poll(0, pod)
        world.poll(0, pod)
    assert world.reached(world.state.version) == 1.0
    world.clock.turn(seconds=59)
    world.renew(1, 2)
    assert len(world.pods[2].roots) == 1, "agent 1 has not looked"
    world.clock.turn(minutes=2)
    for _ in range(3):
        world.lead(0)
    assert world.state.prepared is not None
    world.look(0)
    world.renew(0, 0)
    world.check()


def test_replicas_that_never_say_so_are_waited_for_until_they_must_have_ended() -> None:
    world = started()
    world.clock.turn(minutes=50)
    world.look(1)
    world.renew(1, PODS - 1)
    world.clock.turn(minutes=11, seconds=59)
    world.lead(0)
    world.lead(0)
    assert world.state.prepared is not None
    world.clock.turn(seconds=1)
    world.lead(0)
    assert world.state.prepared is None


def test_before_every_agent_must_have_noticed_no_share_is_enough() -> None:
    world = started()
    for _ in range(2):
        world.poll(1, PODS - 1)
    assert world.reached(world.state.version) == 1.0
    world.lead(0)
    assert world.state.prepared is not None
    announce(world)
    for _ in range(2):
        world.poll(1, PODS - 1)
    world.lead(0)
    assert world.state.prepared is None


def test_an_agent_that_was_asleep_signs_nothing() -> None:
    world = World()
    world.clock.turn(seconds=61)
    with pytest.raises(Unavailable, match="the roots were last read long before"):
        world.rooms[0].sign_replica(WEB, "web-1", _KEYS[0].public_key, now=world.clock(), ttl=TTL)


def test_by_command_before_all_have_it_only_by_force_and_then_some_are_cut_off() -> None:
    world = started()
    announce(world)
    assert world.state.prepared is not None
    key = world.state.prepared.fingerprint
    with pytest.raises(BadRequest, match="67% of them have it"):
        world.state.activate(key, world.clock(), SCHEDULE, world.reached)
    world.state = world.state.activate(key, world.clock(), SCHEDULE, world.reached, force=True)
    world.look(0)
    world.renew(0, 0)
    with pytest.raises(VerificationError):
        world.check()


def test_a_lower_share_is_enough_where_it_is_set() -> None:
    world = started()
    world.schedule = Schedule(SCHEDULE.every, 0.6, TTL, SCHEDULE.margin)
    announce(world)
    world.lead(0)
    assert world.state.prepared is None


def test_an_activated_root_goes_back_at_once_and_nobody_is_cut_off() -> None:
    world = started()
    old = world.state.active.fingerprint
    world.clock.turn(minutes=90)
    world.lead(0)
    world.lead(0)
    assert world.state.active.fingerprint != old
    world.look(0)
    world.renew(0, 0)
    world.state = world.state.activate(old, world.clock(), SCHEDULE, world.reached)
    world.look(1)
    world.renew(1, 1)
    world.check()
    assert world.state.active.fingerprint == old


def refusal(step: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as caught:
        step()
    return caught.value.reason


def test_attacks_on_the_order_of_the_phases() -> None:
    world = started()
    state, now = world.state, world.clock()
    active, prepared = state.active, state.prepared
    assert prepared is not None

    def activate(key: str) -> Callable[[], object]:
        return lambda: state.activate(key, now, SCHEDULE, world.reached, force=True)

    assert refusal(lambda: state.prepare(root(now).certificate, now)) == "AlreadyPrepared"
    assert refusal(activate("00:11")) == "UnknownRoot"
    assert refusal(activate(active.fingerprint)) == "RootActive"
    assert refusal(lambda: state.withdraw(active.fingerprint, now, SCHEDULE, force=True)) == "RootActive"
    after = state.activate(prepared.fingerprint, now, SCHEDULE, world.reached, force=True)
    assert refusal(lambda: after.withdraw(active.fingerprint, now, SCHEDULE)) == "RootInUse"
    alone = after.withdraw(active.fingerprint, now, SCHEDULE, force=True)
    assert refusal(lambda: alone.prepare(active.certificate, now)) == "RootKnown", (
        "a root that is gone came back"
    )
    assert (
        refusal(lambda: alone.prepare(root(now - timedelta(days=9), TTL).certificate, now)) == "RootNotValid"
    )


def test_the_longest_ttl_ever_allowed_is_waited_for() -> None:
    world = started()
    longer = Schedule(None, 1.0, timedelta(hours=24), SCHEDULE.margin)
    state = world.state.advance(world.clock(), longer, world.reached)
    assert state.longest_ttl == timedelta(hours=24)
    state = state.advance(world.clock() + timedelta(minutes=2), SCHEDULE, world.reached)
    shorter = state.advance(world.clock() + timedelta(hours=2), SCHEDULE, lambda _version: None)
    assert shorter.prepared is not None, "certificates of 24 hours may be about"
    assert (
        state.advance(world.clock() + timedelta(hours=25), SCHEDULE, lambda _version: None).prepared is None
    )


def test_a_root_made_by_a_clock_that_was_ahead_does_not_sign_before_it_is_valid() -> None:
    state = RootSuccession.begin(root(NOW).certificate, NOW, TTL)
    early = NOW + timedelta(days=400)
    prepared = state.prepare(root(early).certificate, early)
    new = prepared.prepared
    assert new is not None
    with pytest.raises(BadRequest, match="is valid from"):
        prepared.activate(new.fingerprint, NOW, SCHEDULE, lambda _: 1.0, force=True)
    later, clock = prepared, Clock(NOW)
    for _ in range(100):
        later = later.advance(clock(), SCHEDULE, lambda _: 1.0)
        clock.turn(minutes=5)
    assert later.prepared is not None


def test_a_phase_begun_by_a_clock_that_was_ahead_ends_as_if_it_began_now() -> None:
    first, second = root(NOW), root(NOW)
    early = NOW + timedelta(days=400)
    state = RootSuccession.begin(first.certificate, NOW, TTL).prepare(second.certificate, early)
    clock = Clock(NOW)
    while len(state.roots) > 1 or state.active.certificate != second.certificate:
        state = state.advance(clock(), SCHEDULE, lambda _: None)
        clock.turn(minutes=1)
    assert clock() - NOW < 2 * TTL + 4 * SCHEDULE.margin + timedelta(minutes=10)
