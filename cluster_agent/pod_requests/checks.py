"""The checks of a PodCertificateRequest before a signature. Each has the name of its refusal; the end of this
file gives the order.

NodeRestriction, an admission plugin of the API server, checks most of this when a kubelet makes a request. It
checks nothing for a caller that is no kubelet, and clusters may lack it, so each is checked here again. For
each of them, the attack that it stops is in tests/cluster_agent/pod_requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from blessings import InvalidKey, InvalidName, Name
from blessings.keys import PublicKey, check_public_key
from cluster_agent.errors import BadRequest, Forbidden, Refusal
from cluster_agent.kubernetes.pod_requests import SIGNER_NAME, VouchingPod
from cluster_agent.pod_requests.request import LONGEST_CSR, PodRequest

UNSUPPORTED_KEY = "UnsupportedKeyType"
POD_ENDED = "PodEnded"
# As long after the end of a deleted Pod's grace period as the API server accepts its tokens.
_AFTER_END = timedelta(seconds=60)
# The API server accepts no certificate with a shorter life, from notBefore to notAfter.
SHORTEST_LIFE = timedelta(hours=1)
# notBefore is that long ago when a certificate is made.
BACKDATED = timedelta(seconds=60)
# Of an application whose certificates kubelets can have.
SHORTEST_TTL = SHORTEST_LIFE - BACKDATED


@dataclass(frozen=True)
class Vouched:
    """A request, and what the API server has at the time `now` under the names in it: the Pod, and its
    service account's UID; None where there is none."""

    request: PodRequest
    pod: VouchingPod | None
    service_account_uid: str | None
    now: datetime


def require_no_annotations(request: PodRequest) -> None:
    """Raises BadRequest."""
    if request.annotations:
        keys = ", ".join(request.annotations)[:200]
        raise BadRequest(
            "UnknownAnnotation",
            f"the volume's userAnnotations have {keys}, and {SIGNER_NAME} knows none; remove them",
        )


def require_labelled(request: PodRequest, label: tuple[str, str], *, labelled: bool) -> None:
    """Raises Forbidden."""
    if not labelled:
        key, value = label
        raise Forbidden(
            "NamespaceNotLabelled",
            f"namespace {request.namespace} has no label {key}={value}, or is a system's, so nothing in it "
            "gets an identity; label it, then make the Pod anew",
        )


def requested_key(csr: bytes) -> PublicKey:
    """The key that a PKCS#10 request in DER proves possession of; everything else in it is ignored. Raises
    BadRequest."""
    if len(csr) > LONGEST_CSR:
        raise BadRequest("InvalidCsr", f"stubPKCS10Request has more than {LONGEST_CSR} bytes")
    try:
        request = x509.load_der_x509_csr(csr)
        key = check_public_key(request.public_key())
        signed = request.is_signature_valid
    except InvalidKey as error:
        raise BadRequest(
            UNSUPPORTED_KEY, f"{error}; use keyType: ECDSAP256 in the projected volume's podCertificate"
        ) from error
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequest("InvalidCsr", "stubPKCS10Request is no certificate request") from error
    if not signed:
        raise BadRequest("CsrSignatureInvalid", "stubPKCS10Request is not signed by the key in it")
    return key


def life(request: PodRequest, policy: timedelta) -> timedelta:
    """The TTL of the certificate, from now: `policy`, or less where the request states less. Raises
    Forbidden when the policy wants a shorter life than the API server accepts."""
    ttl = min(policy, timedelta(seconds=request.most_seconds) - BACKDATED)
    if policy < SHORTEST_TTL:
        raise Forbidden(
            "LifeTooShort",
            f"certificates of this application live {int(policy.total_seconds())} s, and Kubernetes accepts "
            "none for less than 3600 s; register a longer TTL, or state vanadium.io/delivery: sidecar, and "
            "make the Pod anew",
        )
    return ttl


def _pod_unknown(vouched: Vouched) -> Refusal | None:
    if vouched.pod is not None:
        return None
    return Forbidden("PodUnknown", f"there is no pod {vouched.request.pod_name!r} in this namespace")


def _other_pod(vouched: Vouched) -> Refusal | None:
    request, pod = vouched.request, vouched.pod
    if pod is not None and pod.uid == request.pod_uid:
        return None
    return Forbidden(
        "OtherPod", f"the request is for a pod {request.pod_name!r} with another UID than today's"
    )


def _pod_ended(vouched: Vouched) -> Refusal | None:
    """Kubelets renew for Pods that have ended, until these are deleted. And of a deleted Pod whose kubelet
    does not confirm that its containers have ended, the API server keeps the object."""
    pod = vouched.pod
    if pod is None:
        return None
    is_over = pod.ends_at is not None and vouched.now >= pod.ends_at + _AFTER_END
    if not (pod.has_ended or is_over):
        return None
    return Forbidden(POD_ENDED, f"pod {vouched.request.pod_name!r} has ended, or was deleted")


def _other_service_account(vouched: Vouched) -> Refusal | None:
    request, pod = vouched.request, vouched.pod
    if pod is not None and pod.service_account == request.service_account:
        return None
    return Forbidden(
        "OtherServiceAccount",
        f"the request is for service account {request.service_account!r}, pod {request.pod_name!r} has "
        "another",
    )


def _service_account_gone(vouched: Vouched) -> Refusal | None:
    request = vouched.request
    if vouched.service_account_uid == request.service_account_uid:
        return None
    return Forbidden(
        "ServiceAccountGone",
        f"service account {request.service_account!r} was deleted, or made anew since; make the Pod anew",
    )


def _other_node(vouched: Vouched) -> Refusal | None:
    request, pod = vouched.request, vouched.pod
    if pod is not None and pod.node == request.node:
        return None
    return Forbidden(
        "OtherNode",
        f"the request is by node {request.node!r}, and pod {request.pod_name!r} does not run there",
    )


def _mirror_pod(vouched: Vouched) -> Refusal | None:
    if vouched.pod is None or not vouched.pod.is_mirror:
        return None
    return Forbidden("MirrorPod", f"pod {vouched.request.pod_name!r} is a static pod's mirror")


def _not_asked_for(vouched: Vouched) -> Refusal | None:
    if vouched.pod is not None and SIGNER_NAME in vouched.pod.signers:
        return None
    return Forbidden(
        "VolumeMissing",
        f"pod {vouched.request.pod_name!r} has no projected volume with a podCertificate of {SIGNER_NAME}",
    )


def _no_name(vouched: Vouched) -> Refusal | None:
    try:
        Name(("x", vouched.request.pod_name))
    except InvalidName as error:
        return Forbidden("InvalidPodName", f"the pod can have no blessing: {error}")
    return None


# The order. First whether there is an identity to sign with (`require_identity` of the signing room:
# Unclaimed), then `require_no_annotations`, `requested_key`, and `require_labelled`. After the API server was
# asked for the objects that the request names:
VOUCHED: tuple[Callable[[Vouched], Refusal | None], ...] = (
    _pod_unknown,
    _other_pod,
    _pod_ended,
    _other_service_account,
    _service_account_gone,
    _other_node,
    _mirror_pod,
    _not_asked_for,
    _no_name,
)
# Then whether the application is revoked, `life`, and the checks in the transaction of the record: replica
# revoked, key certified before, too many certificates.
