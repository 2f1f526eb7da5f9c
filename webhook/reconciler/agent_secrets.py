"""The secrets that the cluster agent keeps, with the calls to make, list and forget them.

with AgentSecrets(ClusterAgentClient(address, context), roots) as agent:
    secret = agent.new_secret("shop", "web")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from blessings import Roots
from service.cluster_agent_client import ClusterAgentClient
from service.errors import CallRefused, CallUnanswered

PAGE = 1000
# A namespace has at most a few thousand, unless something went wrong for a long time.
MOST_PAGES = 10
MOST_PAGES_OF_ALL = 1000


@dataclass(frozen=True)
class KnownSecret:
    """A secret in the cluster agent's list, which never contains the credential."""

    id: str
    namespace: str
    service_account: str
    created_at: datetime
    not_after: datetime


@dataclass(frozen=True)
class KnownSecrets:
    """The secrets of a namespace; some of them, where `complete` is false."""

    secrets: Sequence[KnownSecret]
    complete: bool = True


@dataclass(frozen=True)
class NewSecret:
    """The answer to NewSecret. `credential` is the document for the Kubernetes Secret."""

    id: str
    application: str
    credential: Mapping[str, Any]


def _known(item: Mapping[str, str]) -> KnownSecret:
    return KnownSecret(
        id=item["id"],
        namespace=item["namespace"],
        service_account=item["serviceAccount"],
        created_at=datetime.fromisoformat(item["createdAt"]),
        not_after=datetime.fromisoformat(item["notAfter"]),
    )


class AgentSecrets:
    """The secrets of one cluster agent, for one round. Not for use by several threads at once.

    After a call that nothing answered, each further one fails at once with the same error: a namespace may
    need thousands, and each would wait for its full time.

    Attributes:
        roots: the roots of the cluster agent's certificate.
        away: the error of the call that nothing answered; None while the cluster agent answers.
        calls: how many there were.
    """

    def __init__(self, agent: ClusterAgentClient, roots: Roots) -> None:
        self.roots = roots
        self.away: CallUnanswered | None = None
        self.calls = 0
        self._agent = agent

    def new_secret(self, namespace: str, service_account: str) -> NewSecret:
        """Makes a bootstrap credential for the application. Raises CallError."""
        body = {"namespace": namespace, "serviceAccount": service_account}
        answer = self._call("POST", "/v1/new-secret", body)
        return NewSecret(answer["id"], answer["application"], answer["credential"])

    def forget_secret(self, secret_id: str, *, revoke: bool) -> None:
        """Stops issuing and renewing under that secret; with `revoke` also revokes what it issued.

        A secret that the cluster agent does not know is forgotten as well as it can be. Raises CallError.
        """
        try:
            self._call("POST", "/v1/forget-secret", {"id": secret_id, "revoke": revoke})
        except CallRefused as error:
            if error.reason != "UnknownSecret":
                raise

    def secrets(self, namespace: str) -> KnownSecrets:
        """The namespace's secrets that are neither forgotten nor expired. Raises CallError."""
        found: list[KnownSecret] = []
        after: str | None = None
        for _ in range(MOST_PAGES):
            page = self._page(after, namespace)
            # A cluster agent of 0.1.0 does not know the parameters, and answers with every namespace's.
            found += [_known(item) for item in page["secrets"] if item["namespace"] == namespace]
            after = page.get("following")
            if after is None:
                return KnownSecrets(found)
        return KnownSecrets(found, complete=False)

    def namespaces(self) -> set[str]:
        """The namespaces that have secrets. Raises CallError."""
        found: set[str] = set()
        after: str | None = None
        for _ in range(MOST_PAGES_OF_ALL):
            page = self._page(after, None)
            found |= {item["namespace"] for item in page["secrets"]}
            if page.get("following") is None:
                break
            # The further secrets of the last namespace are left out, however many they are.
            after = page["following"].partition("/")[0]
        return found

    def _page(self, after: str | None, namespace: str | None) -> dict[str, Any]:
        given = {"limit": PAGE, "namespace": namespace, "after": after}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return self._call("GET", f"/v1/secrets?{query}")

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if self.away is not None:
            raise CallUnanswered(self.away.reason, str(self.away))
        self.calls += 1
        try:
            return self._agent.call(method, path, body)
        except CallUnanswered as error:
            if error.is_away:
                self.away = error
            raise

    def close(self) -> None:
        self._agent.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
