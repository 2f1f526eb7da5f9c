"""A client for the administrative calls of a cluster agent."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from cryptography import x509

from blessings import Authority, Blessing, BlessingsError, Name, Principal, PublicKey, Roots
from blessings.keys import check_public_key
from blessings.profile.certificates import to_pem
from blessings.tls import client_context
from vkube.errors import ClusterAgentError

SERVER_NAME = "cluster-agent.vanadium-system.svc"
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Address:
    """The address of a cluster agent, the DNS name in its certificate, and the file with its roots."""

    url: str
    server_name: str
    ca_file: Path


class ClusterAgent:
    """Calls one cluster agent, with a client certificate or without. Each call raises ClusterAgentError."""

    def __init__(self, address: Address, identity: tuple[Principal, Blessing] | None) -> None:
        """Raises ClusterAgentError for roots that cannot be read."""
        try:
            roots = Roots.from_pem(address.ca_file.read_bytes())
            if identity is None:
                context = ssl.create_default_context(cadata=roots.to_pem())
            else:
                context = client_context(*identity, roots)
                context.check_hostname = True
        except (OSError, BlessingsError, ssl.SSLError) as error:
            raise ClusterAgentError(f"--ca {address.ca_file}: {error}") from error
        self._client = httpx.Client(
            base_url=address.url, verify=context, timeout=_TIMEOUT_SECONDS, trust_env=False
        )
        self._extensions = {"sni_hostname": address.server_name}

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to one call."""
        try:
            response = self._client.request(method, path, json=body, extensions=self._extensions)
            answer = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ClusterAgentError(
                f"{method} {self._client.base_url}{path}: {error or type(error).__name__}"
            ) from error
        if not isinstance(answer, dict):
            raise ClusterAgentError(f"{method} {path}: the answer is not an object; is this a cluster agent?")
        if response.is_success:
            return answer
        refusal = answer.get("error") or {}
        raise ClusterAgentError(
            f"refused: {refusal.get('message', response.status_code)} ({refusal.get('reason', '')})"
        )

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def key_of(agent: ClusterAgent) -> PublicKey:
    """The cluster agent's issuing key, after proof that it has the private key. Raises ClusterAgentError."""
    answer = agent.call("GET", "/v1/claim")
    try:
        csr = x509.load_pem_x509_csr(str(answer["csr"]).encode())
        if not csr.is_signature_valid:
            raise ClusterAgentError("the agent's certificate request is not signed by its own key")
        return check_public_key(csr.public_key())
    except (KeyError, ValueError) as error:
        raise ClusterAgentError(f"the agent's certificate request cannot be read: {error}") from error


def claim(
    agent: ClusterAgent, root: Authority, prefix: Name, code: str, *, lifetime: timedelta, now: datetime
) -> Blessing:
    """Delegates `prefix` to the agent's key, and returns the granted blessing. Raises ClusterAgentError."""
    if not root.is_root:
        raise ClusterAgentError(f"{root.name} is not a root; only a root can claim a cluster agent")
    if not prefix.is_extension_of(root.name):
        raise ClusterAgentError(f"the prefix {prefix} is not under the root {root.name}")
    key = key_of(agent)
    extension = ":".join(prefix.components[len(root.name.components) :])
    try:
        granted = root.grant(key, extension, now=now, lifetime=lifetime, path_length=1)
    except BlessingsError as error:
        raise ClusterAgentError(f"cannot delegate {prefix}: {error}") from error
    body = {
        "code": code,
        "chain": granted.to_pem(),
        "root": to_pem([root.certificate]),
        "administrators": {"in": [f"{root.name}:administrator"]},
    }
    agent.call("POST", "/v1/claim", body)
    return granted


@dataclass(frozen=True)
class Wanted:
    """The name that an administrator wants for an application."""

    namespace: str
    service_account: str
    name: Name
    ttl_seconds: int | None
    lifetime: timedelta


def register(agent: ClusterAgent, wanted: Wanted, root: Callable[[], Authority], now: datetime) -> str:
    """Registers an application, and returns a description of the grant that allows its name.

    `root` is called only when the agent itself may not give that name. Raises VkubeError.
    """
    prefix = Name.parse(str(agent.call("GET", "/v1/claim")["prefix"]))
    body: dict[str, Any] = {
        "namespace": wanted.namespace,
        "serviceAccount": wanted.service_account,
        "name": str(wanted.name),
        "ttlSeconds": wanted.ttl_seconds,
    }
    if wanted.name.is_extension_of(prefix):
        agent.call("POST", "/v1/register-application", body)
        return f"the agent's own, below {prefix}"
    granting = root()
    if not wanted.name.is_extension_of(granting.name):
        raise ClusterAgentError(f"{wanted.name} is below neither {prefix} nor {granting.name}")
    extension = ":".join(wanted.name.components[len(granting.name.components) :])
    try:
        chain = granting.grant(key_of(agent), extension, now=now, lifetime=wanted.lifetime)
    except BlessingsError as error:
        raise ClusterAgentError(f"cannot grant {wanted.name}: {error}") from error
    agent.call("POST", "/v1/register-application", {**body, "chain": chain.to_pem()})
    return f"{granting.name}'s, until {chain.not_after.isoformat()}"
