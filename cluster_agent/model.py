"""Applications, the secrets made for them, and the certificates issued to their pods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from blessings import InvalidName, Name
from cluster_agent.errors import BadRequest, NotFound


@dataclass(frozen=True)
class Application:
    """All pods of one service account in one namespace.

    Its name follows from these two alone, because a pod-bound token proves them. Nothing that a pod author
    may write has an influence on it.
    """

    namespace: str
    service_account: str

    def name_under(self, prefix: Name) -> Name:
        """`<prefix>:<namespace>:<service account>`. Raises BadRequest when one of them is not a name
        component."""
        try:
            return Name((*prefix.components, self.namespace, self.service_account))
        except InvalidName as error:
            raise BadRequest("InvalidApplication", str(error)) from error

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service_account}"


@dataclass(frozen=True)
class Secret:
    """The store's record of a bootstrap credential: what it is for, never the credential itself."""

    id: str
    application: Application
    certificate_fingerprint: str
    created_at: datetime
    not_after: datetime
    forgotten: bool


@dataclass(frozen=True)
class IssuedCertificate:
    """What a revocation list needs of a certificate: its serial number in hex, its issuer's name, the
    fingerprint of the key that signed it, and when the issuer's own certificate ends."""

    serial: str
    issuer: str
    issuing_key: str
    issuer_not_after: datetime


@dataclass(frozen=True)
class Issuance:
    """A replica certificate. `certificate` is None when this was read from the store; `revoked` states
    whether its replica was revoked, so that nothing is issued to it."""

    certificate_fingerprint: str
    secret_id: str
    pod_name: str
    pod_uid: str
    public_key_fingerprint: str
    not_after: datetime
    certificate: IssuedCertificate | None = None
    revoked: bool = False


@dataclass(frozen=True)
class PodRequestAnswer:
    """The answer to the PodCertificateRequest `uid`: its status as JSON text, and whether it replaces an
    earlier answer, which the API server no longer accepts."""

    uid: str
    status: str
    replaces: bool = False


def unknown_application(application: Application) -> NotFound:
    return NotFound("UnknownApplication", f"{application} has no registration, and never had a secret")


def unknown_secret(secret_id: str) -> NotFound:
    return NotFound("UnknownSecret", f"no secret has the id {secret_id}")
