"""The guard: what is a gap in it, and which requests it has judged."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from cluster_agent.errors import Unavailable
from cluster_agent.pod_requests import guard
from cluster_agent.pod_requests.guard import SETTLING, Guard
from tests.checkout import CHECKOUT
from tests.cluster_agent.pod_requests.test_checks import REQUEST

POLICY, BINDING = yaml.safe_load_all((CHECKOUT / "deploy/base/policy-pod-certificates.yaml").read_text())
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def changed(value: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    first, *rest = path
    return {**value, first: changed(value.get(first) or {}, *rest, to=to) if rest else to}


def test_the_policy_that_is_deployed_guards() -> None:
    assert guard.gap(POLICY, BINDING) is None


@pytest.mark.parametrize(
    ("policy", "binding"),
    [
        (None, BINDING),
        (POLICY, None),
        (changed(POLICY, "spec", "failurePolicy", to="Ignore"), BINDING),
        (changed(POLICY, "spec", "validations", to=[{"expression": "true"}]), BINDING),
        (changed(POLICY, "spec", "matchConditions", to=[{"name": "a", "expression": "false"}]), BINDING),
        (
            changed(POLICY, "spec", "matchConstraints", "namespaceSelector", to={"matchLabels": {"a": "b"}}),
            BINDING,
        ),
        (
            changed(POLICY, "spec", "matchConstraints", "objectSelector", to={"matchLabels": {"a": "b"}}),
            BINDING,
        ),
        (changed(POLICY, "spec", "matchConstraints", "resourceRules", to=[]), BINDING),
        (changed(POLICY, "spec", "paramKind", to={"apiVersion": "v1", "kind": "ConfigMap"}), BINDING),
        (POLICY, changed(BINDING, "spec", "validationActions", to=["Audit"])),
        (POLICY, changed(BINDING, "spec", "policyName", to="another")),
        (
            POLICY,
            changed(BINDING, "spec", "matchResources", to={"namespaceSelector": {"matchLabels": {"a": "b"}}}),
        ),
    ],
)
def test_attack_a_policy_that_was_narrowed_is_none(
    policy: dict[str, Any] | None, binding: dict[str, Any] | None
) -> None:
    assert guard.gap(policy, binding) is not None


def test_the_selectors_that_the_api_server_fills_in_are_no_gap() -> None:
    policy = changed(POLICY, "spec", "matchConstraints", "namespaceSelector", to={})
    assert guard.gap(changed(policy, "spec", "matchConstraints", "objectSelector", to={}), BINDING) is None


def found(
    body: dict[str, Any], *, created: datetime, generation: int = 1, changed_at: datetime | None = None
) -> dict[str, Any]:
    """As the API server has it; the controller of policies writes their status all the time."""
    times = [{"time": (changed_at or created).isoformat()}]
    times.append({"time": (created + timedelta(days=9)).isoformat(), "subresource": "status"})
    metadata = {
        "name": "vanadium-pod-certificates",
        "creationTimestamp": created.isoformat(),
        "generation": generation,
        "managedFields": times,
    }
    return {**body, "metadata": metadata}


async def judged(policy: dict[str, Any], binding: dict[str, Any], made: datetime) -> None:
    async def read() -> guard.Objects:
        return policy, binding

    seen_at = asyncio.get_running_loop().time()
    await Guard(read).require_judged(replace(REQUEST, created_at=made), seen_at)


OLD = NOON - timedelta(days=30)


async def test_a_request_from_after_the_policy_is_judged() -> None:
    await judged(found(POLICY, created=OLD), found(BINDING, created=NOON), NOON + SETTLING)


@pytest.mark.parametrize(
    ("policy", "binding"),
    [
        (found(POLICY, created=NOON), found(BINDING, created=OLD)),
        (found(POLICY, created=OLD), found(BINDING, created=NOON)),
        (found(POLICY, created=OLD, generation=3, changed_at=NOON), found(BINDING, created=OLD)),
        (found(POLICY, created=OLD), found(BINDING, created=OLD, generation=2, changed_at=NOON)),
    ],
    ids=["policy made", "binding made", "policy repaired", "binding repaired"],
)
async def test_attack_a_request_from_before_the_policy_was_whole_is_not_answered(
    policy: dict[str, Any], binding: dict[str, Any]
) -> None:
    for made in (NOON - timedelta(minutes=5), NOON + SETTLING - timedelta(seconds=1)):
        with pytest.raises(Unavailable) as caught:
            await judged(policy, binding, made)
        assert caught.value.reason == "MadeUnguarded"


async def test_labels_that_change_make_no_request_unjudged() -> None:
    await judged(
        found(POLICY, created=OLD, changed_at=NOON), found(BINDING, created=OLD), NOON - timedelta(hours=1)
    )


async def test_a_changed_policy_that_does_not_state_when_guards_nothing() -> None:
    policy = found(POLICY, created=OLD, generation=2)
    del policy["metadata"]["managedFields"]
    with pytest.raises(Unavailable) as caught:
        await judged(policy, found(BINDING, created=OLD), NOON)
    assert caught.value.reason == "NotGuarded"


async def test_what_was_read_before_a_request_was_seen_does_not_judge_it() -> None:
    reads = 0

    async def read() -> guard.Objects:
        nonlocal reads
        reads += 1
        return found(POLICY, created=OLD), None if reads > 1 else found(BINDING, created=OLD)

    one, request = Guard(read), replace(REQUEST, created_at=NOON)
    before = asyncio.get_running_loop().time()
    await one.require()
    await asyncio.gather(*(one.require_judged(request, before) for _ in range(9)))
    assert reads == 1
    with pytest.raises(Unavailable, match="there is no ValidatingAdmissionPolicyBinding"):
        await one.require_judged(request, asyncio.get_running_loop().time())
