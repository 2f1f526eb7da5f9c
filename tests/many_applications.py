"""Applications of many others in a store, written there directly."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import insert

from blessings import Name
from cluster_agent.model import Application
from cluster_agent.registry.registry import Registration
from cluster_agent.store import tables
from cluster_agent.store.access import seconds
from tests.cluster_agents import AgentUnderClock


def add_applications(agent: AgentUnderClock, count: int) -> None:
    """Registers `count` applications in namespaces of their own, each with a secret and a certificate."""

    def row(number: int) -> dict[str, Any]:
        application = Application(f"team-{number}", "web")
        name = Name.parse(f"acme:prod:Team{number}")
        made = Registration(application, name, None, None).row(agent.room.issuing, agent.clock())
        return {**asdict(made), "registered_at": seconds(made.registered_at)}

    def secret(number: int) -> dict[str, Any]:
        return {
            "id": f"secret-{number}",
            "namespace": f"team-{number}",
            "service_account": "web",
            "certificate_fingerprint": f"credential-{number}",
            "created_at": seconds(agent.clock()),
            "not_after": seconds(agent.clock()) + 86_400,
        }

    def issuance(number: int) -> dict[str, Any]:
        return {
            "certificate_fingerprint": f"certificate-{number}",
            "secret_id": f"secret-{number}",
            "pod_name": "web-1",
            "pod_uid": f"uid-{number}",
            "public_key_fingerprint": f"key-{number}",
            "not_after": seconds(agent.clock()) + 3600,
            "serial": f"{number:x}",
            "issuer": f"acme:prod:Team{number}",
            "issuing_key": "key",
        }

    def issuer(number: int) -> dict[str, Any]:
        return {
            "name": f"acme:prod:Team{number}",
            "issuing_key": "key",
            "not_after": seconds(agent.clock()) + 86_400,
        }

    with agent.store._access.database.writing.begin() as connection:
        for table, make in (
            (tables.applications, row),
            (tables.secrets, secret),
            (tables.issuances, issuance),
            (tables.issuers, issuer),
        ):
            for begin in range(0, count, 5000):
                part = range(begin, min(count, begin + 5000))
                connection.execute(insert(table), [make(number) for number in part])
