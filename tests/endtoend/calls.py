"""Calls of an installed cluster agent."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from blessings import Blessing, Principal, RevocationList, Roots
from blessings.tls import client_context
from tests.csrs import csr_of
from tests.endtoend.installation import Installation


def seek(
    installed: Installation,
    credential: dict[str, Any],
    token: str,
    key: Principal | None = None,
    presented: tuple[Principal, Blessing] | None = None,
) -> httpx.Response:
    """SeekBlessings for `key`, as a client with `credential` calls it, or `presented` as a replica."""
    principal, blessing = presented or (
        Principal.from_pem(credential["privateKey"].encode()),
        Blessing.from_pem(credential["certificateChain"]),
    )
    context = client_context(principal, blessing, Roots.from_pem(credential["clusterAgentRoots"]))
    body = {"csr": csr_of(key or Principal.create()), "token": token}
    with httpx.Client(verify=context, timeout=60) as client:
        return client.post(f"{installed.cluster_agent_url}/v1/seek-blessings", json=body)


def revoked_serials(installed: Installation, credential: dict[str, Any]) -> frozenset[int]:
    """What is on the revocation list of the credential's application."""
    context = ssl.create_default_context(cadata=credential["clusterAgentRoots"])
    context.check_hostname = False
    url = f"{installed.cluster_agent_url}/v1/crl/{credential['application']}"
    return RevocationList.from_der(httpx.get(url, verify=context, timeout=60).content).serials
