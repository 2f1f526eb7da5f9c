"""What is pending: bounded, and shared fairly (law 1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from cluster_agent.monitoring.pod_request_metrics import PodRequestMetrics
from cluster_agent.pod_requests.pending import One, Pending
from cluster_agent.pod_requests.request import PodRequest
from tests.cluster_agent.pod_requests.test_checks import REQUEST


def request(namespace: str, number: int, resource_version: str = "1") -> PodRequest:
    return replace(
        REQUEST,
        namespace=namespace,
        uid=f"{namespace}-{number}",
        pod_uid=f"pod-of-{namespace}-{number}",
        resource_version=resource_version,
    )


async def taken(pending: Pending) -> One | None:
    try:
        async with asyncio.timeout(0.01):
            return await pending.take()
    except TimeoutError:
        return None


async def test_attack_a_flood_of_one_namespace_does_not_delay_another() -> None:
    pending = Pending(at_a_time=8)
    for number in range(1000):
        pending.see(request("flood", number))
    pending.see(request("shop", 1))
    first = [await pending.take() for _ in range(2)]
    assert {one.request.namespace for one in first} == {"flood", "shop"}


async def test_attack_slow_answers_of_one_namespace_leave_half_of_the_turns_to_others() -> None:
    pending = Pending(at_a_time=8)
    for number in range(20):
        pending.see(request("slow", number))
    held = [await pending.take() for _ in range(4)]
    assert await taken(pending) is None
    pending.see(request("shop", 1))
    assert (await pending.take()).request.namespace == "shop"
    pending.end_turn(held[0])
    assert (await pending.take()).request.namespace == "slow"


async def test_attack_a_flood_pushes_out_its_own_requests_only() -> None:
    pending = Pending(at_a_time=8, most=10)
    for number in range(3):
        pending.see(request("shop", number))
    for number in range(100):
        pending.see(request("flood", number))
    for number in range(3, 6):
        pending.see(request("shop", number))
    assert len(pending) == 10
    names = []
    while (one := await taken(pending)) is not None:
        names.append(one.request.uid)
        pending.end_turn(one)
        pending.forget(one.request.namespace, one.request.uid)
    assert {f"shop-{number}" for number in range(5)} <= set(names)
    assert len(pending) == 0


async def test_a_request_is_worked_on_once_and_is_forgotten_with_its_answer() -> None:
    pending = Pending(at_a_time=8)
    pending.see(request("shop", 1))
    pending.see(request("shop", 1, resource_version="2"))
    one = await pending.take()
    assert one.request.resource_version == "2"
    assert await taken(pending) is None
    pending.end_turn(one)
    pending.forget("shop", "shop-1")
    pending.put_off(one, 0)
    assert await taken(pending) is None
    assert pending.oldest_seconds == 0


async def test_a_request_that_is_put_off_has_another_turn_unless_the_list_lacks_it() -> None:
    pending = Pending(at_a_time=8)
    for number in (1, 2):
        pending.see(request("shop", number))
    for one in [await pending.take(), await pending.take()]:
        pending.end_turn(one)
        pending.put_off(one, 0)
    pending.keep_only({"shop-2"})
    assert (await pending.take()).request.uid == "shop-2"
    assert len(pending) == 1


async def test_the_metrics_are_read_in_another_thread() -> None:
    pending, registry = Pending(at_a_time=8), CollectorRegistry()
    PodRequestMetrics(registry).follow(pending)
    pending.see(request("shop", 1))
    text = (await asyncio.to_thread(generate_latest, registry)).decode()
    assert "vanadium_cluster_agent_pod_requests_pending 1.0" in text
