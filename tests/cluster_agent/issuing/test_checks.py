"""Each check before a signature, with the attack that it stops. A check without an attack fails here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from blessings import Authority, Name, Principal
from cluster_agent.attestation import AttestedPod
from cluster_agent.callers import Caller
from cluster_agent.errors import Refusal
from cluster_agent.issuing import checks
from cluster_agent.issuing.checks import Check, Known, ProvenPod, RequestedKey, require
from cluster_agent.model import Application, Issuance, Secret
from cluster_agent.signing.room import BOOTSTRAP_ROOT
from tests.clock import Clock

NOW, HOUR = Clock()(), timedelta(hours=1)
KEY, OTHER_KEY = Principal.create().public_key, Principal.create().public_key
POD = AttestedPod(namespace="shop", service_account="web", name="web-1", uid="uid-of-web-1")
SECRET = Secret("secret-1", Application("shop", "web"), "f0", NOW, NOW + HOUR, forgotten=False)
ISSUANCE = Issuance("f1", SECRET.id, POD.name, POD.uid, "f2", NOW + HOUR)


def caller(root: Name) -> Caller:
    authority = Authority.create_root(root, Principal.create(), now=NOW, lifetime=HOUR)
    blessing = authority.bless(KEY, "web", now=NOW, lifetime=HOUR)
    return Caller(root.extend("web"), blessing)


BOOTSTRAP = Known(caller(BOOTSTRAP_ROOT), SECRET, None)
REPLICA = Known(caller(Name.parse("acme")), SECRET, ISSUANCE)
FIRST, RENEWAL = ProvenPod(POD, SECRET, None), ProvenPod(POD, SECRET, ISSUANCE)


@dataclass(frozen=True)
class Stage:
    """A list of checks, the values that all of them let pass, and by each check's name the values that it
    refuses."""

    checks: tuple[Check[Any], ...]
    good: tuple[Any, ...]
    attacks: dict[str, tuple[Any, ...]]


STAGES = {
    "ENTITLEMENT": Stage(
        checks.ENTITLEMENT,
        (BOOTSTRAP, REPLICA),
        {
            "_not_a_replica": (replace(REPLICA, earlier=None), replace(REPLICA, secret=None, earlier=None)),
            "_unknown_secret": (replace(BOOTSTRAP, secret=None),),
            "_secret_forgotten": (
                replace(BOOTSTRAP, secret=replace(SECRET, forgotten=True)),
                replace(REPLICA, secret=replace(SECRET, forgotten=True)),
            ),
            "_revoked": (replace(REPLICA, earlier=replace(ISSUANCE, revoked=True)),),
        },
    ),
    "KEY": Stage(
        checks.KEY,
        (RequestedKey(OTHER_KEY, KEY, []),),
        {
            "_key_reused": (RequestedKey(KEY, KEY, []),),
            "_key_of_the_agent": (RequestedKey(OTHER_KEY, KEY, [OTHER_KEY]),),
        },
    ),
    "TOKEN": Stage(checks.TOKEN, ("a token",), {"_token_missing": ("",)}),
    "POD": Stage(
        checks.POD,
        (FIRST, RENEWAL),
        {
            "_token_of_other_namespace": (replace(FIRST, pod=replace(POD, namespace="evil")),),
            "_token_of_other_service_account": (replace(FIRST, pod=replace(POD, service_account="evil")),),
            "_token_of_other_pod": (
                replace(RENEWAL, pod=replace(POD, name="web-2")),
                replace(RENEWAL, pod=replace(POD, uid="uid-of-its-successor")),
            ),
        },
    ),
}


def lists_of_checks() -> dict[str, tuple[Check[Any], ...]]:
    return {
        name: value for name, value in vars(checks).items() if name.isupper() and isinstance(value, tuple)
    }


def test_each_check_has_an_attack() -> None:
    attacked = {name: tuple(stage.attacks) for name, stage in STAGES.items()}
    assert {
        name: tuple(check.__name__ for check in listed) for name, listed in lists_of_checks().items()
    } == attacked


def test_each_check_that_is_written_is_in_a_list() -> None:
    listed = {check for several in lists_of_checks().values() for check in several}
    written = {
        value
        for name, value in vars(checks).items()
        if name.startswith("_") and getattr(value, "__module__", "") == checks.__name__ and callable(value)
    }
    assert written == listed


@pytest.mark.parametrize(
    ("stage", "check"), [(stage, check) for stage in STAGES.values() for check in stage.checks]
)
def test_attack_each_check_refuses_its_own_with_its_reason(stage: Stage, check: Check[Any]) -> None:
    reason = check.__name__.title().replace("_", "")
    for attack in stage.attacks[check.__name__]:
        refusal = check(attack)
        assert refusal is not None
        assert refusal.reason == reason
        with pytest.raises(Refusal) as caught:
            require(stage.checks, attack)
        assert caught.value.reason == reason


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_what_is_no_attack_passes_each_check(stage: Stage) -> None:
    for good in stage.good:
        assert [check(good) for check in stage.checks] == [None] * len(stage.checks)
