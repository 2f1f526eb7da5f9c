"""Calls of an installed cluster agent."""

from __future__ import annotations

import ssl

import httpx

from blessings import Blessing, Principal, RevocationList
from blessings.tls import client_context
from pod_agent.credential import Credential
from tests.csrs import csr_of
from tests.endtoend.installation import Installation


def seek(
    installed: Installation,
    credential: Credential,
    token: str,
    key: Principal | None = None,
    presented: tuple[Principal, Blessing] | None = None,
) -> httpx.Response:
    """SeekBlessings for `key`, as a client with `credential` calls it, or `presented` as a replica."""
    principal, blessing = presented or (credential.principal, credential.blessing)
    context = client_context(principal, blessing, credential.cluster_agent_roots)
    body = {"csr": csr_of(key or Principal.create()), "token": token}
    with httpx.Client(verify=context) as client:
        return client.post(f"{installed.cluster_agent_url}/v1/seek-blessings", json=body)


def revoked_serials(installed: Installation, credential: Credential) -> frozenset[int]:
    """What is on the revocation list of the credential's application.

    Raises httpx.HTTPStatusError before the list is made, two seconds after the first issuance."""
    context = ssl.create_default_context(cadata=credential.cluster_agent_roots.to_pem())
    context.check_hostname = False
    url = f"{installed.cluster_agent_url}/v1/crl/{credential.application}"
    return RevocationList.from_der(httpx.get(url, verify=context).raise_for_status().content).serials
