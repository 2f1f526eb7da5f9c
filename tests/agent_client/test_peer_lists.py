"""An application's verifier gets the revocation list of a peer's issuer when it needs it, and keeps it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent_client import AgentClient, AgentError, PeerLists
from agent_client import peer_lists as module
from blessings import (
    Name,
    Policy,
    Principal,
    PublicKey,
    Reason,
    RevocationLists,
    VerificationError,
    WithoutList,
    verify_blessing,
)
from pod_agent.agent_protocol import pem_parts
from pod_agent.identity import CurrentIdentity
from pod_agent.revocation_lists import HeldLists, Index
from tests.agent_client.serving import serving_agent_protocol
from tests.chains import NOW, realm
from tests.clock import Clock
from tests.pod_agent.published_lists import APPLICATION, REALM, Source, identity, signed
from tests.waiting import PATIENCE_SECONDS

SERIAL = REALM.blessing.leaf.serial_number
KEY = REALM.application.principal.public_key


class Served:
    """A pod agent whose cluster agent is `source`."""

    def __init__(
        self, source: Source, current: CurrentIdentity, client: AgentClient, lists: HeldLists
    ) -> None:
        self.source, self.current, self.client, self.lists = source, current, client, lists
        self.peer_lists = PeerLists(client)

    def publish(self, number: int, *serials: int) -> None:
        index = Index(number, (self.source.publish(number, signed(number, *serials)),))
        self.lists.take(index, self.lists.applications)

    def judged(self, without: WithoutList = WithoutList.REFUSE) -> Reason | None:
        policy = Policy(revocation=self.peer_lists, without_list=without)
        try:
            verify_blessing(REALM.blessing, REALM.roots, now=NOW, policy=policy)
        except VerificationError as error:
            return error.reason
        return None


@contextmanager
def served() -> Iterator[Served]:
    current, source = CurrentIdentity(Clock(NOW)), Source()
    lists = HeldLists(source)
    asyncio.run(current.set(identity()))
    with serving_agent_protocol(current, lists) as path, AgentClient(path) as client:
        yield Served(source, current, client, lists)


def test_the_list_of_a_peers_issuer_is_fetched_when_it_is_needed_and_again_when_it_changed() -> None:
    with served() as pod:
        pod.publish(1, 7)
        assert pod.source.fetched == []
        assert pod.judged() is pod.judged() is None
        assert [one.application for one in pod.source.fetched] == [APPLICATION]
        pod.publish(2, SERIAL)
        assert pod.judged() is pod.judged() is Reason.REVOKED
        assert [one.number for one in pod.source.fetched] == [1, 2]


def test_without_an_answer_the_list_at_hand_counts_and_without_a_list_the_policy_decides() -> None:
    with served() as pod:
        pod.publish(1, SERIAL)
        assert pod.judged() is Reason.REVOKED
        asyncio.run(pod.current.set(None))
        assert pod.judged() is Reason.REVOKED
        pod.peer_lists = PeerLists(pod.client)
        assert pod.judged() is Reason.REVOCATION_UNKNOWN
        assert pod.judged(WithoutList.ACCEPT) is None


def test_attack_a_list_that_the_issuer_did_not_sign_replaces_no_list_of_it_and_is_not_kept() -> None:
    """An attacker between a program and the cluster agent's address may send one."""
    genuine = signed(10**6)
    forged = RevocationLists.of([genuine[:-1] + bytes([genuine[-1] ^ 1])])

    class Server:
        version = 0
        lists = RevocationLists.of([signed(1, SERIAL)])

        def revocation_lists_since(self, _: Name, version: str | None) -> tuple[str, RevocationLists]:
            self.version += 1
            return str(self.version), self.lists

    server = Server()
    lists = PeerLists(server)

    def judged() -> Reason | None:
        try:
            verify_blessing(REALM.blessing, REALM.roots, now=NOW, policy=Policy(revocation=lists))
        except VerificationError as error:
            return error.reason
        return None

    assert judged() is Reason.REVOKED
    server.lists = forged
    assert judged() is Reason.REVOKED
    (kept,) = lists._kept.values()
    assert len(kept.lists.entries) == 1
    server.lists = RevocationLists.of([signed(2)])
    assert judged() is None


def test_attack_a_chain_of_a_stranger_makes_nobody_fetch_a_list() -> None:
    with served() as pod:
        stranger = realm(application="prod:shop:victim")
        policy = Policy(revocation=pod.peer_lists)
        with pytest.raises(VerificationError):
            verify_blessing(stranger.blessing, REALM.roots, now=NOW, policy=policy)
        assert pod.lists.applications == []


def test_an_application_without_a_list_has_none_and_one_that_cannot_be_had_is_an_error() -> None:
    with served() as pod:
        assert pod.client.revocation_lists(Name.parse("acme:unknown")) == RevocationLists()
        pod.source.away = True
        with pytest.raises(AgentError, match="away") as caught:
            pod.client.revocation_lists(Name.parse("acme:prod"))
        assert caught.value.reason == "ListUnavailable"


def test_the_lists_in_memory_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ISSUERS", 3)
    with served() as pod:
        for number in range(10):
            assert pod.peer_lists.by_issuer(b"", Name.parse(f"acme:{number}"), KEY) == []
        assert len(pod.peer_lists._kept) == 3
    lists = PeerLists(EveryIssuer())
    for number in range(10):
        assert looked_up(lists, number)
    assert [name for name, _ in lists._kept] == ["acme:7", "acme:8", "acme:9"]


def test_a_long_list_arrives_whole_in_many_parts() -> None:
    with served() as pod:
        der = signed(1, *range(1, 20_001))
        pod.source.publish(1, der)
        assert len(list(pem_parts([der]))) > 10
        (one,) = pod.client.revocation_lists(Name.parse(APPLICATION)).entries
        assert one.to_der() == der


class EveryIssuer:
    """Hands out the same list, which REALM's application signed, for each name."""

    asked = 0

    def revocation_lists_since(self, _: Name, version: str | None) -> tuple[str, RevocationLists] | None:
        self.asked += 1
        return None if version == "1" else ("1", RevocationLists.of([signed(1, SERIAL)]))


def looked_up(lists: PeerLists, issuer: int | str, key: PublicKey = KEY) -> bool:
    """Whether the lists revoke the replica of the issuer with that name."""
    found = lists.by_issuer(REALM.blessing.leaf.issuer.public_bytes(), Name.parse(f"acme:{issuer}"), key)
    return any(SERIAL in one.serials for one in found)


@pytest.mark.parametrize("ask_every", [0, 15])
def test_a_revoked_peer_is_refused_also_when_its_list_made_room_for_others(ask_every: int) -> None:
    lists = PeerLists(EveryIssuer(), ask_every_seconds=ask_every, clock=lambda: 0.0)
    for issuer in (*range(module.MOST_ISSUERS + 1), 0):
        assert looked_up(lists, issuer)


def test_the_list_that_leaves_is_the_one_that_was_not_used_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ISSUERS", 2)
    server = EveryIssuer()
    lists = PeerLists(server, ask_every_seconds=15, clock=lambda: 0.0)
    for issuer in ("a", "b", "a", "c", "a"):
        assert looked_up(lists, issuer)
    assert server.asked == 3


@pytest.mark.parametrize("ask_every", [0, 15])
def test_attack_fresh_keys_of_delegates_displace_no_list(
    ask_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ISSUERS", 2)
    server = EveryIssuer()
    lists = PeerLists(server, ask_every_seconds=ask_every, clock=lambda: 0.0)
    assert looked_up(lists, "web")
    for _ in range(3):
        assert not looked_up(lists, "web:delegate", Principal.create().public_key)
    assert [name for name, _ in lists._kept][-1] == "acme:web"
    assert looked_up(lists, "web")


def test_attack_the_questions_under_way_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(module, "MOST_QUESTIONS", 3, raising=False)
    server, answers, asking = EveryIssuer(), threading.Event(), []
    ask = server.revocation_lists_since

    def late(name: Name, version: str | None) -> tuple[str, RevocationLists] | None:
        asking.append(name)
        assert answers.wait(PATIENCE_SECONDS)
        return ask(name, version)

    monkeypatch.setattr(server, "revocation_lists_since", late)
    lists = PeerLists(server, ask_every_seconds=15, clock=lambda: 0.0)
    try:
        for issuer in range(10):
            looked_up(lists, issuer)
        assert len(lists._questions) == 3
    finally:
        answers.set()
    for question in list(lists._questions.values()):
        question.thread.join()
    assert len(asking) == 3
    monkeypatch.setattr(module, "MOST_WAIT_SECONDS", PATIENCE_SECONDS)
    assert looked_up(lists, 10)
    assert len(lists._questions) == 3


def test_where_no_thread_can_be_started_what_is_at_hand_counts_and_the_next_verification_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    now = 0.0
    lists = PeerLists(EveryIssuer(), ask_every_seconds=15, clock=lambda: now)
    assert looked_up(lists, "known")
    now = 20.0
    with monkeypatch.context() as pids_limit:
        pids_limit.setattr(threading.Thread, "start", refused)
        assert looked_up(lists, "known")
        assert not looked_up(lists, "unknown")
    assert looked_up(lists, "known")
    assert looked_up(lists, "unknown")
