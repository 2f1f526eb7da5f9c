"""The checks before a signature. Each has the name of its refusal; the tuples at the end give the order.

A check is a function of values that returns its refusal or None. For each of them, the attack that it stops
is in tests/cluster_agent/issuing/test_checks.py. Some facts may change before the certificate is recorded:
the secret may be forgotten, the replica revoked, the key certified. The store checks these again, in the
transaction that records the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from blessings import InvalidKey
from blessings.keys import PublicKey, check_public_key
from cluster_agent.attestation import AttestedPod, TokenRefused
from cluster_agent.callers import Caller
from cluster_agent.errors import BadRequest, Forbidden, KeyReused, Refusal, ReplicaRevoked, SecretForgotten
from cluster_agent.model import Issuance, Secret

_Value = TypeVar("_Value")
Check = Callable[[_Value], Refusal | None]


@dataclass(frozen=True)
class Known:
    """What the store knows about the caller's certificate.

    Attributes:
        secret: what gives the caller its right to a certificate; None when unknown.
        earlier: the issuance of the caller's certificate; None for a bootstrap credential, or when unknown.
    """

    caller: Caller
    secret: Secret | None
    earlier: Issuance | None


@dataclass(frozen=True)
class RequestedKey:
    """The key to certify, the key of the client certificate, and the keys of this agent."""

    key: PublicKey
    presented: PublicKey
    own: Collection[PublicKey]


@dataclass(frozen=True)
class ProvenPod:
    """The pod that a token is bound to.

    Attributes:
        secret: the pod must be one of its application.
        earlier: the pod must be the one that this was issued to; None at the first call.
    """

    pod: AttestedPod
    secret: Secret
    earlier: Issuance | None


def require(checks: tuple[Check[_Value], ...], value: _Value) -> None:
    """Raises the refusal of the first check that returns one."""
    for check in checks:
        refusal = check(value)
        if refusal is not None:
            raise refusal


def requested_key(csr_pem: str) -> PublicKey:
    """The key that a CSR proves possession of; everything else in the CSR is ignored.

    Raises BadRequest for a malformed CSR, a wrong signature, or a key that is not accepted.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = check_public_key(csr.public_key())
        signed = csr.is_signature_valid
    except InvalidKey as error:
        raise BadRequest("InvalidKey", str(error)) from error
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequest("InvalidCsr", "the body's csr is no PEM certificate request") from error
    if not signed:
        raise BadRequest("CsrSignatureInvalid", "the certificate request is not signed by the key in it")
    return key


def _not_a_replica(known: Known) -> Refusal | None:
    if known.caller.holds_bootstrap_credential or known.earlier is not None:
        return None
    return Forbidden(
        "NotAReplica", f"{known.caller.name} is neither a bootstrap credential nor a replica known here"
    )


def _unknown_secret(known: Known) -> Refusal | None:
    if known.secret is not None:
        return None
    return Forbidden("UnknownSecret", "no secret with this credential is known here")


def _secret_forgotten(known: Known) -> Refusal | None:
    secret = known.secret
    return SecretForgotten(secret.id) if secret is not None and secret.forgotten else None


def _revoked(known: Known) -> Refusal | None:
    earlier = known.earlier
    revoked = earlier is not None and earlier.revoked
    return ReplicaRevoked(earlier.pod_name, earlier.pod_uid) if earlier is not None and revoked else None


def _key_reused(request: RequestedKey) -> Refusal | None:
    if request.key != request.presented:
        return None
    return KeyReused("the certificate request is for the key already in use; make a new one")


def _key_of_the_agent(request: RequestedKey) -> Refusal | None:
    # Its certificate request is public: a claim, or cert-manager, needs it.
    if request.key not in request.own:
        return None
    return BadRequest(
        "KeyOfTheAgent", "the certificate request is for a key of this cluster agent; make your own"
    )


def _token_missing(token: str) -> Refusal | None:
    return None if token else TokenRefused("TokenMissing", "a pod-bound service-account token is needed")


def _token_of_other_namespace(proven: ProvenPod) -> Refusal | None:
    of, pod = proven.secret.application, proven.pod
    if pod.namespace == of.namespace:
        return None
    return Forbidden(
        "TokenOfOtherNamespace",
        f"the credential is for namespace {of.namespace!r}, the token for {pod.namespace!r}",
    )


def _token_of_other_service_account(proven: ProvenPod) -> Refusal | None:
    of, pod = proven.secret.application, proven.pod
    if pod.service_account == of.service_account:
        return None
    return Forbidden(
        "TokenOfOtherServiceAccount",
        f"the credential is for service account {of.service_account!r}, "
        f"the token for {pod.service_account!r}",
    )


def _token_of_other_pod(proven: ProvenPod) -> Refusal | None:
    earlier, pod = proven.earlier, proven.pod
    if earlier is None or (pod.uid, pod.name) == (earlier.pod_uid, earlier.pod_name):
        return None
    return Forbidden(
        "TokenOfOtherPod",
        f"the certificate was issued to pod {earlier.pod_name!r} (uid {earlier.pod_uid}), "
        f"the token is bound to {pod.name!r} (uid {pod.uid})",
    )


# The order. First, whether the agent has an identity to sign with (`require_identity` of the signing room:
# Unclaimed).
# After the store has looked up the caller's certificate:
ENTITLEMENT: tuple[Check[Known], ...] = (_not_a_replica, _unknown_secret, _secret_forgotten, _revoked)
# After the certificate request was read (`requested_key`: InvalidCsr, InvalidKey, CsrSignatureInvalid):
KEY: tuple[Check[RequestedKey], ...] = (_key_reused, _key_of_the_agent)
# Before the token goes to the attestor, which may cost a call to the API server:
TOKEN: tuple[Check[str], ...] = (_token_missing,)
# After the attestor accepted the token (it may raise refusals of its own):
POD: tuple[Check[ProvenPod], ...] = (
    _token_of_other_namespace,
    _token_of_other_service_account,
    _token_of_other_pod,
)
# Then the TTL is chosen (TtlTooShort), the certificate is signed (`signing/room.py` refuses what its keys or
# an administrator's grant do not allow: NotGranted, IssuerEnding, …), and it is recorded.
