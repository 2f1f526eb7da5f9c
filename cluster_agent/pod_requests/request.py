"""A PodCertificateRequest as the API server has it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import nsmallest
from typing import Any

from cluster_agent.fair_queue import Tenant
from cluster_agent.kubernetes.pod_requests import SIGNER_NAME

# After one of these, the API server accepts no other status.
_FINAL = frozenset({"Issued", "Denied", "Failed"})
# A kubelet's has 1.1 KiB with the longest key, RSA4096; the API server accepts 10 KiB.
LONGEST_CSR = 2 << 10
_KEYS_SHOWN = 3


class Unreadable(ValueError):
    """The object is no PodCertificateRequest for our signer."""


@dataclass(frozen=True)
class PodRequest:
    """What we use of a request; its namespace, name and UID are the API server's own, the rest is what its
    creator wrote. `annotations` are the first keys of the user's annotations, `csr` is DER, and cut where it
    is longer than LONGEST_CSR: twenty thousand requests may wait, and their authors choose these lengths."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    created_at: datetime
    pod_name: str
    pod_uid: str
    service_account: str
    service_account_uid: str
    node: str
    most_seconds: int
    csr: bytes
    annotations: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> PodRequest:
        """Raises Unreadable."""
        try:
            metadata, spec = found["metadata"], found["spec"]
            if spec["signerName"] != SIGNER_NAME:
                raise Unreadable(f"signerName is {spec['signerName']!r:.100}")
            return cls(
                namespace=str(metadata["namespace"]),
                name=str(metadata["name"]),
                uid=str(metadata["uid"]),
                resource_version=str(metadata["resourceVersion"]),
                created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
                pod_name=str(spec["podName"]),
                pod_uid=str(spec["podUID"]),
                service_account=str(spec["serviceAccountName"]),
                service_account_uid=str(spec["serviceAccountUID"]),
                node=str(spec["nodeName"]),
                most_seconds=int(spec["maxExpirationSeconds"]),
                csr=base64.b64decode(spec.get("stubPKCS10Request") or "")[: LONGEST_CSR + 1],
                annotations=tuple(nsmallest(_KEYS_SHOWN, spec.get("unverifiedUserAnnotations") or ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unreadable(f"{error!r:.200}") from error

    @property
    def tenant(self) -> Tenant:
        """For whom the request waits."""
        return (self.namespace, self.service_account, self.pod_uid)

    @property
    def identity(self) -> dict[str, str]:
        """The metadata by which its status is set."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "resourceVersion": self.resource_version,
        }

    def at(self, resource_version: str) -> PodRequest:
        """The same request, whose spec never changes, after a change of its metadata."""
        return replace(self, resource_version=resource_version)


def is_answered(found: Mapping[str, Any]) -> bool:
    """Whether the request has its final status."""
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(one.get("type") in _FINAL for one in conditions)
