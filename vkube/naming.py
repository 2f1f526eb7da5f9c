"""The names that an administrator grants: a claim delegates a prefix, a registration names an application."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote

from cryptography import x509

from blessings import Authority, Blessing, BlessingsError, Name, PublicKey
from blessings.encoding.chains import to_pem
from blessings.keys import check_public_key
from vkube.errors import AdministrationError


class Agent(Protocol):
    """What these functions need of a cluster agent. `call` raises VkubeError or ServiceError."""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]: ...


def applications(agent: Agent) -> Iterator[dict[str, Any]]:
    """The registered applications, page by page, as the cluster agent describes them."""
    after = ""
    while True:
        answer = agent.call("GET", f"/v1/applications{after}")
        yield from answer["applications"]
        # An older version of the cluster agent sends none.
        if answer.get("following") is None:
            return
        after = f"?after={quote(answer['following'], safe='')}"


def key_of(agent: Agent) -> PublicKey:
    """The cluster agent's issuing key, after proof of its private key. Raises AdministrationError."""
    answer = agent.call("GET", "/v1/claim")
    try:
        csr = x509.load_pem_x509_csr(str(answer["csr"]).encode())
        if not csr.is_signature_valid:
            raise AdministrationError("the agent's certificate request is not signed by its own key")
        return check_public_key(csr.public_key())
    except (KeyError, ValueError, x509.InvalidVersion) as error:
        raise AdministrationError(f"the agent's certificate request cannot be read: {error}") from error


def claim(
    agent: Agent, root: Authority, prefix: Name, code: str, *, lifetime: timedelta, now: datetime
) -> Blessing:
    """Delegates `prefix` to the agent's key, and returns the granted blessing. Raises AdministrationError."""
    if not root.is_root:
        raise AdministrationError(f"{root.name} is not a root; only a root can claim a cluster agent")
    if not prefix.is_extension_of(root.name):
        raise AdministrationError(f"the prefix {prefix} is not under the root {root.name}")
    key = key_of(agent)
    extension = ":".join(prefix.components[len(root.name.components) :])
    try:
        granted = root.grant(key, extension, now=now, lifetime=lifetime, path_length=1)
    except BlessingsError as error:
        raise AdministrationError(f"cannot delegate {prefix}: {error}") from error
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
    """The name that an administrator wants for an application. `dns_names` are for its certificates; None
    leaves those that it has."""

    namespace: str
    service_account: str
    name: Name
    ttl_seconds: int | None
    lifetime: timedelta
    dns_names: Sequence[str] | None = None
    share_dns_names: bool = False


def register(agent: Agent, wanted: Wanted, root: Callable[[], Authority], now: datetime) -> str:
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
    # Only where it is asked for: an older version of the cluster agent refuses what it does not know.
    if wanted.dns_names is not None:
        body["dnsNames"] = list(wanted.dns_names)
    if wanted.share_dns_names:
        body["shareDnsNames"] = True
    if wanted.name.is_extension_of(prefix):
        agent.call("POST", "/v1/register-application", body)
        return f"the agent's own, below {prefix}"
    granting = root()
    if not wanted.name.is_extension_of(granting.name):
        raise AdministrationError(f"{wanted.name} is below neither {prefix} nor {granting.name}")
    extension = ":".join(wanted.name.components[len(granting.name.components) :])
    try:
        chain = granting.grant(key_of(agent), extension, now=now, lifetime=wanted.lifetime)
    except BlessingsError as error:
        raise AdministrationError(f"cannot grant {wanted.name}: {error}") from error
    agent.call("POST", "/v1/register-application", {**body, "chain": chain.to_pem()})
    return f"{granting.name}'s, until {chain.not_after.isoformat()}"
