"""What may be signed, decided from values: no network, no store, no clock of its own.

The order of the comparisons is the order in which design says them. Each has the attack that it stops as
a test in tests/cluster_agent/issuing/test_issuing.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from blessings import InvalidKey
from blessings.keys import PublicKey, check_public_key
from cluster_agent.attestation import AttestedPod
from cluster_agent.errors import BadRequest, Forbidden, KeyReused, ReplicaRevoked, SecretForgotten
from cluster_agent.model import Issuance, Secret


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
        raise SecretForgotten(secret.id)


def check_not_revoked(issuance: Issuance) -> None:
    """Raises Forbidden for a replica that was revoked."""
    if issuance.revoked:
        raise ReplicaRevoked(issuance.pod_name, issuance.pod_uid)


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
        raise KeyReused("the certificate request is for the key already in use; make a new one")
