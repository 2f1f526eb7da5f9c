"""`vkube describe application|secret|revocation`, against the real cluster agent, and to the letter."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.cluster_agents import RunningClusterAgent
from tests.vkube.command import vkube
from tests.vkube.test_weekly import agent, directory, flags, issued
from vkube.commands import describe

__all__ = ["agent", "directory", "flags"]  # fixtures
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PLACE = {"namespace": "shop", "serviceAccount": "web"}


def test_an_application_has_its_secrets_and_replicas(agent: RunningClusterAgent, flags: list[object]) -> None:
    secret = issued(agent, "whole", "web-1", "web-2")
    shown = vkube("describe", "application", "web", "-n", "whole", *flags)
    assert "Name:              acme:prod:whole:web\n" in shown
    assert "Named by:          its namespace and service account\n" in shown
    assert f"Secret:            {secret}, until " in shown
    assert "Live replicas:     2\n" in shown
    assert shown.count("acme:prod:whole:web:web-") == 2
    vkube("register", "whole", "web", "acme:prod:Whole", "--ttl", 600, *flags)
    by_name = vkube("describe", "application", "acme:prod:Whole", *flags)
    assert "Named by:                registration\n" in by_name
    assert "Certificates live for:   600s\n" in by_name
    vkube("revoke", "--application", "web", "-n", "whole", *flags)
    revoked = json.loads(vkube("describe", "application", "web", "-n", "whole", "-o", "json", *flags))
    assert revoked["revocation"]["kind"] == "application"
    assert revoked["replicas"] == []
    assert "there is no application nobody" in vkube("describe", "application", "nobody", *flags, ends=1)


def test_a_secret_is_described_by_the_beginning_of_its_id(
    agent: RunningClusterAgent, flags: list[object]
) -> None:
    secret = issued(agent, "kept", "web-1")
    shown = vkube("describe", "secret", secret[:12], *flags)
    assert f"Id:                {secret}\n" in shown
    assert "acme:prod:kept:web:web-1" in shown
    assert "there is no secret zz" in vkube("describe", "secret", "zz", *flags, ends=1)
    issued(agent, "kept")
    assert "secret  means several: " in vkube("describe", "secret", "", *flags, ends=2)


def test_a_revocation_is_described_with_what_ends_it(agent: RunningClusterAgent, flags: list[object]) -> None:
    issued(agent, "ended", "web-1")
    here = ["-n", "ended", *flags]
    vkube("revoke", "--pod", "web-1", *here)
    for subject in ("web-1", "ended-web-1"):
        shown = vkube("describe", "revocation", subject, *here)
        assert "Kind:              replica\n" in shown
        assert "Ended by:          nothing: it is listed until its last certificate has ended\n" in shown
    vkube("revoke", "--application", "web", *here)
    shown = vkube("describe", "revocation", "web", *here)
    assert "Ended by:          vkube reinstate web -n ended\n" in shown
    assert "there is no revocation of x" in vkube("describe", "revocation", "x", *here, ends=1)


def test_descriptions_are_these_to_the_letter() -> None:
    registration: dict[str, Any] = {
        "ttlSeconds": None,
        "grantedUntil": "2026-11-29T12:00:00Z",
        "dnsNames": ["web.shop.svc"],
        "objection": None,
    }
    secret = {"id": "ab12", "notAfter": "2026-12-28T12:00:00Z", "createdAt": "2026-11-28T11:00:00Z"}
    one: dict[str, Any] = {
        "name": "acme:Web",
        **PLACE,
        "registration": registration,
        "revocation": None,
        "replicas": [],
    }
    assert describe.described_application({**one, "secrets": [secret]}, NOW) == (
        "Name:                    acme:Web\n"
        "Namespace:               shop\n"
        "Service account:         web\n"
        "Named by:                registration\n"
        "Certificates live for:   the cluster agent's time\n"
        "Granted until:           2026-11-29T12:00:00Z (24h left)\n"
        "DNS names:               web.shop.svc\n"
        "Revoked:                 no\n"
        "Secret:                  ab12, until 2026-12-28T12:00:00Z (30d left)\n"
        "Live replicas:           0\n"
    )
    kept = {**secret, **PLACE, "application": "acme:Web", "replicas": []}
    assert describe.described_secret(kept, NOW) == (
        "Id:                ab12\n"
        "Namespace:         shop\n"
        "Service account:   web\n"
        "Application:       acme:Web\n"
        "Created:           2026-11-28T11:00:00Z (60m ago)\n"
        "Good until:        2026-12-28T12:00:00Z (30d left)\n"
        "Live replicas:     0\n"
    )
    revoked = {
        **PLACE,
        "kind": "application",
        "pod": None,
        "podUid": None,
        "revokedAt": "2026-11-28T11:59:00Z",
    }
    assert describe.described_revocation(revoked, NOW) == (
        "Kind:              application\n"
        "Namespace:         shop\n"
        "Service account:   web\n"
        "Revoked:           2026-11-28T11:59:00Z (60s ago)\n"
        "Ended by:          vkube reinstate web -n shop\n"
    )
