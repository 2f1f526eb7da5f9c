"""What is told of service accounts for which there is no room: bounded, and not again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from certs.api_server import Access, BoundedApiClient
from tests.webhook.api_server import ApiServer
from webhook.metrics import Metrics
from webhook.reconciler.excess import EVENT, Excess, message


class Telling:
    """An Excess with an API server and a clock that the test turns."""

    def __init__(self, api: ApiServer, excess: Excess, metrics: Metrics) -> None:
        self.api = api
        self._excess = excess
        self._metrics = metrics
        self.seconds = 0.0

    async def note(self, namespace: str, *accounts: str) -> int:
        """Notes them, and returns how many lines the log got."""
        with capture_logs() as lines:
            await asyncio.to_thread(self._excess.note, namespace, accounts)
        return len(lines)

    def told(self, namespace: str) -> str:
        text: str = self.api.events[namespace, EVENT]["message"]
        return text

    def gauge(self) -> float:
        name = "vanadium_webhook_service_accounts_without_credential"
        return self._metrics.registry.get_sample_value(name) or 0.0


@pytest.fixture
async def telling() -> AsyncIterator[Telling]:
    api, metrics = ApiServer(), Metrics()
    async with api.clients() as clients:
        excess = Excess(clients, metrics, now=lambda: datetime.now(UTC), clock=lambda: made.seconds)
        made = Telling(api, excess, metrics)
        yield made


async def test_the_event_names_them_and_what_to_do_and_the_metric_counts_all(telling: Telling) -> None:
    await telling.note("shop", "b", "a")
    await telling.note("bank", *(f"account-{number}" for number in range(9000)))
    assert telling.told("shop").startswith("b, a: no room in Secret vanadium-bootstrap, so their Pods wait.")
    assert "account-2 and 8997 more" in telling.told("bank")
    assert telling.gauge() == 9002
    await telling.note("bank")
    assert telling.gauge() == 2


async def test_an_unchanged_excess_is_told_once_in_half_an_hour_and_a_changed_one_once_in_a_minute(
    telling: Telling,
) -> None:
    assert await telling.note("shop", "a") == 1
    for seconds, accounts, lines in (
        (59.0, "ab", 0),
        (60.0, "a", 0),
        (61.0, "ab", 1),
        (1800.0, "ab", 0),
        (1861.0, "ab", 1),
    ):
        telling.seconds = seconds
        assert await telling.note("shop", *accounts) == lines
    assert telling.told("shop").startswith("a, b: ")
    assert len(telling.api.events) == 1


async def test_attack_an_excess_that_comes_and_goes_is_told_once_in_a_minute(telling: Telling) -> None:
    lines = 0
    for _ in range(100):
        lines += await telling.note("shop", "a")
        lines += await telling.note("shop")
        telling.seconds += 0.6
    assert lines == 1
    assert await telling.note("shop", "a") == 1


async def test_an_event_that_the_api_server_does_not_take_is_logged_and_hinders_nothing() -> None:
    nobody = BoundedApiClient(Access("http://127.0.0.1:1"))
    excess = Excess(nobody, Metrics(), now=lambda: datetime.now(UTC), clock=lambda: 0.0)
    with capture_logs() as lines:
        excess.note("shop", ("a",))
    assert [line["event"] for line in lines] == ["service accounts without a credential", "event not written"]


def test_attack_the_message_of_the_longest_names_is_one_that_the_api_server_takes() -> None:
    """At most 1024 bytes."""
    assert len(message(["n" * 253] * 100_000)) < 1024
