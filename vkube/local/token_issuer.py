"""Pod-bound service-account tokens for local mode, in the format of Kubernetes.

The cluster agent checks them offline against the published key set, as it would check a cluster's tokens
from outside of that cluster.

Claims: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#schema-for-service-account-private-claims
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from blessings import fingerprint


class TokenIssuer:
    """Signs tokens with a key made at start; `jwks` is the public half, as a JSON Web Key Set (RFC 7517)."""

    def __init__(self, issuer: str, now: Callable[[], datetime]) -> None:
        self.issuer = issuer
        self._now = now
        # ES256 is P-256 (RFC 7518, section 3.4).
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._key_id = fingerprint(self._key.public_key()).replace(":", "")[:32]

    def jwks(self) -> str:
        """The key set document."""
        key: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**key, "kid": self._key_id, "use": "sig", "alg": "ES256"}]})

    def token(
        self,
        *,
        namespace: str,
        service_account: str,
        audience: str,
        pod_name: str,
        pod_uid: str,
        lifetime: timedelta,
    ) -> tuple[str, datetime]:
        """A token bound to the pod, and when it expires."""
        now = self._now()
        expiry = now + lifetime
        claims = {
            "iss": self.issuer,
            "aud": [audience],
            "sub": f"system:serviceaccount:{namespace}:{service_account}",
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(expiry.timestamp()),
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {
                "namespace": namespace,
                "pod": {"name": pod_name, "uid": pod_uid},
                "serviceaccount": {"name": service_account, "uid": _uid(namespace, service_account)},
            },
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id}), expiry


def _uid(namespace: str, service_account: str) -> str:
    # Local mode keeps no ServiceAccount objects; the same account has the same UID each time.
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"vanadium.io/{namespace}/{service_account}"))
