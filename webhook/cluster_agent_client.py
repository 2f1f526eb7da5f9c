"""A client for the cluster agent's administrative calls, over mTLS.

with ClusterAgentClient(url, server_name, principal, blessing, roots) as agent:
    secret = agent.new_secret("shop", "web")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from blessings import Blessing, Principal, Roots
from blessings.tls import client_context
from webhook.errors import WebhookError

_TIMEOUT_SECONDS = 10.0


class ClusterAgentError(WebhookError):
    """A call to the cluster agent failed. `reason` is from the agent's answer, or `Unreachable`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class KnownSecret:
    """A secret in the cluster agent's list, which never contains the credential."""

    id: str
    namespace: str
    service_account: str
    created_at: datetime
    not_after: datetime


@dataclass(frozen=True)
class NewSecret:
    """The answer to NewSecret. `credential` is the document for the Kubernetes Secret."""

    id: str
    application: str
    credential: Mapping[str, Any]


class ClusterAgentClient:
    """Calls one cluster agent. Not for use by several threads at once."""

    def __init__(
        self, url: str, server_name: str, principal: Principal, blessing: Blessing, roots: Roots
    ) -> None:
        """`server_name` is the DNS name that the agent's certificate must have, whatever host `url` names."""
        self.roots = roots
        context = client_context(principal, blessing, roots)
        context.check_hostname = True
        self._client = httpx.Client(base_url=url, verify=context, timeout=_TIMEOUT_SECONDS)
        self._extensions = {"sni_hostname": server_name}

    def new_secret(self, namespace: str, service_account: str) -> NewSecret:
        """Makes a bootstrap credential for the application. Raises ClusterAgentError."""
        body = {"namespace": namespace, "serviceAccount": service_account}
        answer = self._call("POST", "/v1/new-secret", body)
        return NewSecret(answer["id"], answer["application"], answer["credential"])

    def forget_secret(self, secret_id: str, *, revoke: bool) -> None:
        """Stops issuing and renewing under that secret; with `revoke` also revokes what it issued.

        An unknown secret is no error. Raises ClusterAgentError.
        """
        self._call("POST", "/v1/forget-secret", {"id": secret_id, "revoke": revoke})

    def secrets(self) -> list[KnownSecret]:
        """The secrets that are neither forgotten nor expired. Raises ClusterAgentError."""
        return [
            KnownSecret(
                id=item["id"],
                namespace=item["namespace"],
                service_account=item["serviceAccount"],
                created_at=datetime.fromisoformat(item["createdAt"]),
                not_after=datetime.fromisoformat(item["notAfter"]),
            )
            for item in self._call("GET", "/v1/secrets", None)["secrets"]
        ]

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=body, extensions=self._extensions)
            answer: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ClusterAgentError(
                "Unreachable", f"{method} {path}: {error or type(error).__name__}"
            ) from error
        if response.is_success:
            return answer
        refusal = answer.get("error") or {}
        reason = str(refusal.get("reason", response.status_code))
        raise ClusterAgentError(reason, f"{method} {path}: {reason}: {refusal.get('message', '')}")

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
