"""Pod-bound service-account tokens for local mode, in the format of Kubernetes.

The cluster agent checks them offline against the published key set, as a cluster agent outside of a cluster
does with that cluster's tokens.
Claims: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#schema-for-service-account-private-claims
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey


class TokenIssuer:
    """Signs tokens with `key`, or with a new P-256 key. `jwks` is the public half, as a JSON Web Key Set (RFC
    7517). Clusters have keys of either kind; kubeadm makes RSA ones."""

    def __init__(self, issuer: str, now: Callable[[], datetime], key: ECKey | RSAKey | None = None) -> None:
        self.issuer = issuer
        self._now = now
        self._key = key or ECKey.generate_key("P-256")
        # RFC 7518, sections 3.3 and 3.4.
        self._algorithm = "RS256" if isinstance(self._key, RSAKey) else "ES256"
        self._key_id = self._key.thumbprint()

    def jwks(self) -> str:
        """The key set document."""
        key = self._key.as_dict(private=False, kid=self._key_id, use="sig", alg=self._algorithm)
        return json.dumps({"keys": [key]})

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
        """A token bound to the pod, and its expiry."""
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
        header = {"alg": self._algorithm, "kid": self._key_id}
        return jwt.encode(header, claims, self._key, [self._algorithm], default_type=None), expiry


def _uid(namespace: str, service_account: str) -> str:
    # Local mode has no ServiceAccount objects; a given account has the same UID each time.
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"vanadium.io/{namespace}/{service_account}"))
