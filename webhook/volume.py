"""The volume in which the kubelet keeps a Pod's identity, as it is written into the Pod.

The kubelet makes the key, asks the cluster agent for the chain by a PodCertificateRequest, and renews both.
https://kubernetes.io/docs/concepts/storage/projected-volumes/#podcertificate
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from webhook.layout import (
    CHAIN,
    CREDENTIAL_BUNDLE,
    FEDERATED,
    FEDERATED_BUNDLE,
    FILE_VARIABLES,
    FILES_DIRECTORY,
    IDENTITY_VOLUME,
    KEY,
    ROOTS,
    SIGNER,
    TRUST_BUNDLE,
)
from webhook.patch import Encoded, encoded
from webhook.rawjson import JSONObject

# Kubernetes asks for, and signs, no certificate of a shorter life.
SHORTEST_TTL: Final = 3600  # seconds

MOUNT: Final = encoded({"name": IDENTITY_VOLUME, "mountPath": FILES_DIRECTORY, "readOnly": True})
VARIABLES: Final = {name: encoded({"name": name, "value": value}) for name, value in FILE_VARIABLES.items()}
# The kind of key that the pod agent makes too.
_CERTIFICATE: Final = {
    "signerName": SIGNER,
    "keyType": "ECDSAP256",
    "credentialBundlePath": CREDENTIAL_BUNDLE,
    "keyPath": KEY,
    "certificateChainPath": CHAIN,
}
_ROOTS: Final = {"name": TRUST_BUNDLE, "path": ROOTS}


def volume(ttl_seconds: int | None, federated: Sequence[str] = ()) -> JSONObject:
    """The volume, with a file of roots for each of the `federated` trust domains. Without `ttl_seconds`, the
    cluster agent decides; Kubernetes permits it a day then."""
    wish = {} if ttl_seconds is None else {"maxExpirationSeconds": ttl_seconds}
    sources = [{"podCertificate": {**_CERTIFICATE, **wish}}, {"clusterTrustBundle": dict(_ROOTS)}]
    sources += [{"clusterTrustBundle": _federated(domain)} for domain in federated]
    return {"name": IDENTITY_VOLUME, "projected": {"sources": sources}}


def _federated(domain: str) -> JSONObject:
    # Optional: when an administrator removes the trust domain, the file becomes empty, and Pods still start.
    return {"name": f"{FEDERATED_BUNDLE}{domain}", "path": f"{FEDERATED}/{domain}.crt", "optional": True}


@lru_cache(maxsize=64)  # nearly all Pods wish for no TTL
def encoded_volume(ttl_seconds: int | None, federated: tuple[str, ...]) -> Encoded:
    """`volume`, as JSON text."""
    return encoded(volume(ttl_seconds, federated))


def is_ours(candidate: JSONObject) -> bool:
    """Whether `candidate` is the volume that this module writes, of any TTL and federated trust domains.

    Without annotations for the signer: it refuses those, and the Pod would wait for ever. What an API server
    fills in by default is ignored.
    """
    match candidate:
        case {
            "name": name,
            "projected": {
                "sources": [
                    {"podCertificate": dict(certificate)},
                    {"clusterTrustBundle": dict(roots)},
                    *others,
                ]
            },
        }:
            stated = {key: value for key, value in certificate.items() if key != "maxExpirationSeconds"}
            ours = name == IDENTITY_VOLUME and stated == _CERTIFICATE and roots == _ROOTS
            return ours and all(_is_federated(one) for one in others)
        case _:
            return False


def _is_federated(source: object) -> bool:
    match source:
        case {"clusterTrustBundle": dict(bundle)}:
            name = str(bundle.get("name"))
            return name.startswith(FEDERATED_BUNDLE) and bundle == _federated(
                name.removeprefix(FEDERATED_BUNDLE)
            )
        case _:
            return False
