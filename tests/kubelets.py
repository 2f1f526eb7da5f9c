"""What a kubelet does at the API server for a Pod with a certificate volume: it makes key and request.

The test control plane has no kubelet. These calls have a kubelet's user and group, so that the API server's
own admission judges them; the requests are those of kubelet 1.37 (pkg/kubelet/podcertificate).
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from typing import Any, Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from blessings import Principal
from tests.controlplane.control_plane import ControlPlane
from tests.waiting import PATIENCE_SECONDS, wait_for

SIGNER = "vanadium.io/replica"
REQUESTS = "/apis/certificates.k8s.io/v1/namespaces/{}/podcertificaterequests"
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@dataclass
class Kubelets:
    """The kubelets of a control plane, and the objects that their requests name."""

    control_plane: ControlPlane

    def __post_init__(self) -> None:
        trust = ssl.create_default_context(cafile=str(self.control_plane.ca_certificate))
        token = self.control_plane.admin_token
        self.api = httpx.Client(
            base_url=self.control_plane.url,
            verify=trust,
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_SECONDS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()

    def make(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        answer = self.api.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def get(self, path: str) -> dict[str, Any]:
        answer = self.api.get(path)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def namespace(self, name: str, *, labelled: bool = True) -> str:
        labels = {"vanadium.io/inject": "enabled"} if labelled else {}
        self.make("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        wait_for(
            f"service account of {name}",
            lambda: self.api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default").is_success,
        )
        return name

    def node(self, name: str) -> dict[str, Any]:
        return self.make("/api/v1/nodes", {"metadata": {"name": name}})

    def service_account(self, namespace: str, name: str) -> dict[str, Any]:
        return self.make(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})

    def pod(
        self, namespace: str, name: str, *, node: str, service_account: str = "default", volume: bool = True
    ) -> dict[str, Any]:
        """A Pod on that node, which nobody starts."""
        bundle = {"signerName": SIGNER, "keyType": "ECDSAP256", "credentialBundlePath": "bundle.pem"}
        volumes = [{"name": "identity", "projected": {"sources": [{"podCertificate": bundle}]}}]
        return self.make(
            f"/api/v1/namespaces/{namespace}/pods",
            {
                "metadata": {"name": name, "labels": {"vanadium.io/inject": "disabled"}},
                "spec": {
                    "nodeName": node,
                    "serviceAccountName": service_account,
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": "example.test/none"}],
                    "volumes": volumes if volume else [],
                },
            },
        )

    def delete_pod(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        assert self.api.delete(path, params={"gracePeriodSeconds": "0"}).is_success

    def ask(
        self, pod: dict[str, Any], *, key: Key | None = None, by: str | None = None, **changes: Any
    ) -> httpx.Response:
        """The API server's answer to a request for that Pod by its node, or by another user; `changes` are to
        the request's spec."""
        return self.api.post(
            REQUESTS.format(pod["metadata"]["namespace"]),
            json=self.request(pod, key, **changes),
            headers=as_node(pod["spec"]["nodeName"]) if by is None else as_user(by),
        )

    def asked(
        self, pod: dict[str, Any], *, key: Key | None = None, by: str | None = None, **changes: Any
    ) -> dict[str, Any]:
        """The request that its node made, or another user."""
        answer = self.ask(pod, key=key, by=by, **changes)
        assert answer.is_success, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def asked_again(self, namespace: str, node: str, body: dict[str, Any]) -> None:
        """One more request like `body`, with a new key."""
        csr = stub_csr(ec.generate_private_key(ec.SECP256R1()))
        new = {**body, "spec": {**body["spec"], "stubPKCS10Request": csr}}
        self.make(REQUESTS.format(namespace), new, **as_node(node))

    def request(self, pod: dict[str, Any], key: Key | None = None, **changes: Any) -> dict[str, Any]:
        metadata, spec = pod["metadata"], pod["spec"]
        namespace, account = metadata["namespace"], spec["serviceAccountName"]
        account_uid = self.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}")["metadata"]["uid"]
        node_uid = self.get(f"/api/v1/nodes/{spec['nodeName']}")["metadata"]["uid"]
        return {
            "metadata": {"generateName": "req-"},
            "spec": {
                "signerName": SIGNER,
                "podName": metadata["name"],
                "podUID": metadata["uid"],
                "serviceAccountName": account,
                "serviceAccountUID": account_uid,
                "nodeName": spec["nodeName"],
                "nodeUID": node_uid,
                "maxExpirationSeconds": 86400,
                "stubPKCS10Request": stub_csr(key or ec.generate_private_key(ec.SECP256R1())),
                **changes,
            },
        }

    def current(self, request: dict[str, Any]) -> dict[str, Any]:
        metadata = request["metadata"]
        return self.get(f"{REQUESTS.format(metadata['namespace'])}/{metadata['name']}")

    def condition(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The condition of its status, once it has one."""
        found = (self.current(request).get("status") or {}).get("conditions") or []
        return found[0] if found else None

    def answered(self, request: dict[str, Any]) -> dict[str, Any]:
        """Its status, once it has one."""
        wait_for("an answer", lambda: self.condition(request))
        status: dict[str, Any] = self.current(request)["status"]
        return status

    def denied(self, request: dict[str, Any]) -> tuple[str, str]:
        """Why it was denied: the reason and the message."""
        status = self.answered(request)
        (condition,) = status["conditions"]
        assert condition["type"] == "Denied", status
        assert "certificateChain" not in status
        return condition["reason"], condition["message"]


def as_node(name: str) -> dict[str, str]:
    return as_user(f"system:node:{name}", "system:nodes")


def as_user(name: str, group: str = "system:masters") -> dict[str, str]:
    return {"Impersonate-User": name, "Impersonate-Group": group}


def csr_for(principal: Principal) -> bytes:
    """A request in DER with the key of a principal of ours."""
    return principal.csr().public_bytes(Encoding.DER)


def stub_csr(key: Key) -> str:
    """As the kubelet makes it: empty, but for key and signature."""
    hash_ = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hash_)
    return base64.b64encode(csr.public_bytes(Encoding.DER)).decode()
