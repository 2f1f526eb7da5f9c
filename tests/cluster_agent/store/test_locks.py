"""One replica of the agent that is stuck while it records for a Pod, and the others, on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from blessings import Principal
from cluster_agent.errors import PodBusy
from cluster_agent.store.database import connect, database_url
from cluster_agent.store.locks import hold_pods
from tests.cluster_agent.issuing.test_stages import overload_of
from tests.cluster_agent.store.test_store import SECRET, issuance, opened
from tests.cluster_agents import pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.postgresql import Postgresql


@contextmanager
def recording_elsewhere(url: str, *pod_uids: str) -> Iterator[None]:
    """A session in the middle of its transaction, as of a replica whose node is paused."""
    database = connect(database_url(url))
    try:
        with database.writing.begin() as connection:
            # Until the test is done, and not just until the server ends it.
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            assert hold_pods(connection, pod_uids) == set()
            yield
    finally:
        database.dispose()


async def test_a_pod_that_another_replica_records_for_is_refused_and_the_others_are_recorded(
    postgresql: Postgresql,
) -> None:
    url = postgresql.new_database()
    async with opened(url) as store:
        await store.secrets.add(SECRET)
        with recording_elsewhere(url, "uid-2"):
            # The first is under way when the others come, which are so a batch.
            numbers = (0, 1, 2, 3, 4)
            asked = [asyncio.create_task(store.issuances.add(issuance(number))) for number in numbers]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert [None if one is None else type(one) for one in outcomes] == [
                None,
                None,
                PodBusy,
                None,
                None,
            ]
            known = [await store.issuances.with_secret(f"certificate-{number}") for number in numbers]
            assert [one is not None for one in known] == [True, True, False, True, True]
        await store.issuances.add(issuance(2))


def test_a_busy_pod_is_told_when_to_come_again_and_counted(tmp_path: Path, postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    with running_cluster_agent(tmp_path, database_url=url) as agent:
        with agent.credential_client(agent.new_secret()["credential"]) as client:

            def seek(pod: str) -> httpx.Response:
                body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens, pod)}
                return client.post("/v1/seek-blessings", json=body)

            with recording_elsewhere(url, "uid-of-web-1"):
                refused = seek("web-1")
                assert (refused.status_code, refused.json()["error"]["reason"]) == (429, "PodBusy")
                assert refused.headers["Retry-After"] == "2"
                assert seek("web-2").status_code == 200
            assert seek("web-1").status_code == 200
        assert overload_of(agent)["pod-busy"] == 1
