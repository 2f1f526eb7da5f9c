"""What the pod agent says about a peer's chain, for programs without a verifier of their own."""

from __future__ import annotations

from typing import Any

import pytest

from blessings import Blessing, BlessingsError, Methods
from pod_agent.peer_verification import Question, verdict
from pod_agent.revocation_lists import HeldLists
from tests.chains import HOUR, NOW, realm
from tests.pod_agent.published_lists import REALM, Source, identity, signed

NAME = "acme:prod:shop:web:web-1"


async def judged(chain: Blessing, source: Source | None = None, **more: Any) -> dict[str, Any]:
    question = Question.parse({"chain": chain.to_pem(), **more})
    return await verdict(question, identity(), HeldLists(source or Source()), NOW + HOUR / 2)


async def test_a_valid_chain_proves_its_name() -> None:
    expected = {"name": NAME, "revocation": "checked", "rejected": None}
    assert await judged(REALM.blessing) == expected
    with_root = Blessing((*REALM.blessing.certificates, REALM.root.certificate))
    assert await judged(with_root) == expected


async def test_attack_a_chain_of_another_root_proves_nothing_and_makes_nobody_fetch_a_list() -> None:
    source, stranger = Source(), realm()
    source.publish(1, signed(1))
    said = await judged(stranger.blessing, source)
    assert said["name"] is None
    assert said["rejected"]["presented"] == NAME
    assert said["rejected"]["reason"] == "UnrecognisedRoot"
    assert source.fetched == []


async def test_attack_a_revoked_peer_proves_nothing_by_a_list_however_long() -> None:
    source = Source()
    source.publish(1, signed(1, *range(10**12, 10**12 + 1000), REALM.blessing.leaf.serial_number))
    said = await judged(REALM.blessing, source)
    assert (said["name"], said["rejected"]["reason"]) == (None, "Revoked")


async def test_without_an_answer_about_lists_the_verdict_says_so() -> None:
    source = Source()
    source.away = True
    assert await judged(REALM.blessing, source) == {
        "name": NAME,
        "revocation": "unavailable",
        "rejected": None,
    }


async def test_a_delegate_is_valid_only_for_who_accepts_delegates_and_states_the_method() -> None:
    _, phone = REALM.delegated("phone", caveats=[Methods(("Get",))])
    assert (await judged(phone))["rejected"]["reason"] == "DelegationNotAccepted"
    assert (await judged(phone, delegations=1))["rejected"]["reason"] == "CaveatFailed"
    assert (await judged(phone, delegations=1, method="Get"))["name"] == f"{NAME}:phone"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chain": "nothing"}, "no PEM"),
        ({"chain": 1}, "the body.chain must be a string"),
        ({"delegations": 99}, "the body.delegations must be a whole number"),
        ({"discharges": [{}]}, "discharge"),
        ({"policy": "lax"}, "unknown field 'policy'"),
    ],
)
def test_a_question_that_is_none_is_refused_with_the_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BlessingsError, match=message):
        Question.parse({"chain": REALM.blessing.to_pem(), **changes})
