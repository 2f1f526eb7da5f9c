"""The ClusterTrustBundles of our signer at the API server, which kubelets put beside the certificates.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#cluster-trust-bundles
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from cryptography import x509

from blessings.encoding.chains import to_pem
from cluster_agent.kubernetes.api import ApiCallError, KubernetesApi
from cluster_agent.kubernetes.pod_requests import GROUP, SIGNER_NAME
from cluster_agent.kubernetes.watched import NotServed

_PATH = f"{GROUP}/clustertrustbundles"
_JSON = "application/json"
_LABELS = {"app.kubernetes.io/part-of": "vanadium-cluster"}
# Many times what we write.
_MOST_BYTES = 8 << 20
_log = structlog.get_logger("cluster_agent")


class TrustBundleApi:
    """The bundles, each by its name. Every call raises ApiCallError, or NotServed where the API server has no
    such objects."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def all(self) -> dict[str, dict[str, Any]]:
        """Those of our signer."""
        selection = {"fieldSelector": f"spec.signerName={SIGNER_NAME}"}
        try:
            answer = await self._api.read(_PATH, selection, _JSON, most_bytes=_MOST_BYTES)
        except ApiCallError as error:
            raise _not_served(error) from error
        return {one["metadata"]["name"]: one for one in answer.get("items") or ()}

    async def keep(self, wanted: dict[str, Any]) -> bool:
        """Makes the API server's bundle of that name the wanted one; returns whether it was another one, or
        none."""
        name = wanted["metadata"]["name"]
        try:
            found = await self._api.read(f"{_PATH}/{name}", {}, _JSON)
        except ApiCallError as error:
            if error.status != 404:
                raise
            await self._create(wanted)
            return True
        return await self.replace(found, wanted)

    async def replace(self, found: dict[str, Any], wanted: dict[str, Any]) -> bool:
        """As `keep`, for a bundle that was found."""
        if found.get("spec") == wanted["spec"]:
            return False
        name = wanted["metadata"]["name"]
        await self._api.replace(f"{_PATH}/{name}", {**wanted, "metadata": found.get("metadata") or {}})
        _log.info("ClusterTrustBundle has the current roots", name=name)
        return True

    async def delete(self, name: str) -> None:
        try:
            await self._api.delete(f"{_PATH}/{name}")
        except ApiCallError as error:
            if error.status != 404:
                raise
        _log.info("ClusterTrustBundle deleted", name=name)

    async def _create(self, wanted: dict[str, Any]) -> None:
        try:
            await self._api.create(_PATH, wanted)
        except ApiCallError as error:
            raise _not_served(error) from error
        _log.info("ClusterTrustBundle made", name=wanted["metadata"]["name"])


def bundle(name: str, certificates: Iterable[x509.Certificate]) -> dict[str, Any]:
    """The object with these roots. The API server accepts each of them once, and at least one."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "ClusterTrustBundle",
        "metadata": {"name": name, "labels": _LABELS},
        "spec": {"signerName": SIGNER_NAME, "trustBundle": to_pem(dict.fromkeys(certificates))},
    }


def _not_served(error: ApiCallError) -> Exception:
    return NotServed(str(error)) if error.status == 404 else error
