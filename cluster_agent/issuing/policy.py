"""What may be signed, decided from values: no network, no store, no clock of its own.

The order of the comparisons is the order in which design says them. Each has the attack that it stops as
a test in tests/cluster_agent/issuing/test_issuing.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from blessings import InvalidKey
from blessings.keys import PublicKey, check_public_key
from cluster_agent.attestation import AttestedPod
from cluster_agent.errors import BadRequest, Forbidden, TooManyRequests
from cluster_agent.model import Application

# Recording takes milliseconds; where the other one is stuck, the database ends its session after 10 s.
BUSY_SECONDS = 2


@dataclass(frozen=True)
class Secret:
    """A bootstrap credential as the store knows it: what it is for, never the credential itself."""

    id: str
    application: Application
    certificate_fingerprint: str
    created_at: datetime
    not_after: datetime
    forgotten: bool


@dataclass(frozen=True)
class IssuedCertificate:
    """What a revocation list needs to know of a certificate: its serial number in hex, its issuer's name, the
    fingerprint of the key that signed it, and when the issuer's own certificate ends."""

    serial: str
    issuer: str
    issuing_key: str
    issuer_not_after: datetime


@dataclass(frozen=True)
class Issuance:
    """A replica certificate that was issued earlier. `certificate` is None for what was read from the store;
    `revoked` says whether its replica is issued nothing any more."""

    certificate_fingerprint: str
    secret_id: str
    pod_name: str
    pod_uid: str
    public_key_fingerprint: str
    not_after: datetime
    certificate: IssuedCertificate | None = None
    revoked: bool = False


@dataclass(frozen=True)
class TtlPolicy:
    """How long replica certificates live: what is given by default, and the least one may ask for."""

    default: timedelta
    minimum: timedelta

    def choose(self, asked_seconds: int | None) -> timedelta:
        """The TTL for a request. Asking may shorten the default, never lengthen it.

        Raises BadRequest for less than the minimum.
        """
        if asked_seconds is None:
            return self.default
        asked = timedelta(seconds=asked_seconds)
        if asked < self.minimum:
            raise BadRequest(
                "TtlTooShort",
                f"a TTL of {asked_seconds} s was asked for, "
                f"the least is {int(self.minimum.total_seconds())} s",
            )
        return min(asked, self.default)


def requested_key(csr_pem: str) -> PublicKey:
    """The key that a CSR proves possession of; whatever else it asks for is not looked at.

    Raises BadRequest for no CSR, a signature that does not hold, or a key that is not accepted.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = check_public_key(csr.public_key())
        signed = csr.is_signature_valid
    except InvalidKey as error:
        raise BadRequest("InvalidKey", str(error)) from error
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequest("InvalidCsr", "the body's csr is no PEM certificate request") from error
    if not signed:
        raise BadRequest("CsrSignatureInvalid", "the certificate request is not signed by the key in it")
    return key


def check_not_forgotten(secret: Secret) -> None:
    """Raises Forbidden for a forgotten secret."""
    if secret.forgotten:
        raise forgotten(secret)


def check_not_revoked(issuance: Issuance) -> None:
    """Raises Forbidden for a replica that was revoked."""
    if issuance.revoked:
        raise revoked(issuance.pod_name, issuance.pod_uid)


def revoked(pod_name: str, pod_uid: str) -> Forbidden:
    """The refusal for a replica that was revoked."""
    return Forbidden(
        "Revoked", f"pod {pod_name!r} (uid {pod_uid}) was revoked; nothing is issued to it any more"
    )


def too_many(pod_name: str, pod_uid: str, wait: timedelta) -> TooManyRequests:
    """The refusal for a replica that has as many valid certificates as it may, until the first ends."""
    return TooManyRequests(
        "TooManyCertificates",
        f"pod {pod_name!r} (uid {pod_uid}) has too many certificates that have not ended; does it start "
        "again and again?",
        limit="live-certificates",
        retry_after_seconds=max(1, ceil(wait.total_seconds())),
    )


def pod_busy(pod_name: str, pod_uid: str) -> TooManyRequests:
    """The refusal for a replica that another replica of the agent is recording a certificate of."""
    return TooManyRequests(
        "PodBusy",
        f"another cluster agent is recording a certificate of pod {pod_name!r} (uid {pod_uid}); try again",
        limit="pod-busy",
        retry_after_seconds=BUSY_SECONDS,
    )


def forgotten(secret: Secret) -> Forbidden:
    """The refusal for a secret that was forgotten."""
    return Forbidden(
        "SecretForgotten", f"secret {secret.id} was forgotten; nothing is issued for it any more"
    )


def check_pod_of_secret(pod: AttestedPod, secret: Secret) -> None:
    """The token's pod belongs to the secret's application. Raises Forbidden."""
    if pod.namespace != secret.application.namespace:
        raise Forbidden(
            "TokenOfOtherNamespace",
            f"the credential is for namespace {secret.application.namespace!r}, "
            f"the token for {pod.namespace!r}",
        )
    if pod.service_account != secret.application.service_account:
        raise Forbidden(
            "TokenOfOtherServiceAccount",
            f"the credential is for service account {secret.application.service_account!r}, "
            f"the token for {pod.service_account!r}",
        )


def check_pod_of_issuance(pod: AttestedPod, issuance: Issuance) -> None:
    """The token's pod is the one that the presented replica certificate was issued to. Raises Forbidden."""
    if pod.uid != issuance.pod_uid or pod.name != issuance.pod_name:
        raise Forbidden(
            "TokenOfOtherPod",
            f"the certificate was issued to pod {issuance.pod_name!r} (uid {issuance.pod_uid}), "
            f"the token is bound to {pod.name!r} (uid {pod.uid})",
        )


def check_key_is_new(key: PublicKey, presented: PublicKey) -> None:
    """A request is for another key than that of the certificate presented with it. Raises BadRequest."""
    if key == presented:
        raise BadRequest("KeyReused", "the certificate request is for the key already in use; make a new one")
