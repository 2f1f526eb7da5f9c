"""The cluster agent's secrets in memory: credentials of the real form and size, which open no connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from blessings import Authority, Name, Principal, Roots
from service.errors import CallRefused, CallUnanswered
from webhook.reconciler.agent_secrets import KnownSecret, KnownSecrets, NewSecret

LIFE = timedelta(days=90)
BOOTSTRAP = Authority.create_root(
    Name.parse("vanadium-bootstrap"), Principal.create(), now=datetime.now(UTC), lifetime=timedelta(days=365)
)
ROOTS = Roots.of(BOOTSTRAP.certificate)


def credential(
    application: str = "acme:prod:shop:web", identifier: str = "0123456789abcdef" * 2
) -> dict[str, Any]:
    """A bootstrap credential as the cluster agent answers it, which is also what 0.1.0 stores."""
    principal = Principal.create()
    blessing = BOOTSTRAP.bless(principal.public_key, identifier, now=datetime.now(UTC), lifetime=LIFE)
    return {
        "version": 1,
        "id": identifier,
        "application": application,
        "certificateChain": blessing.to_pem(),
        "privateKey": principal.to_pem().decode(),
        "clusterAgentRoots": ROOTS.to_pem(),
        "notAfter": blessing.not_after.isoformat(),
    }


class ClusterAgentDouble:
    """Knows the secrets that it made. It is away, asks to wait after so many calls, and refuses revoked
    service accounts, as it is told."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self.roots = ROOTS
        self.known: dict[str, KnownSecret] = {}
        self.is_away = False
        self.permitted: float = float("inf")
        self.revoked: frozenset[str] = frozenset()
        self.calls = 0
        self.made = 0
        self.changes: Counter[str] = Counter()
        """Secrets made and forgotten, by namespace."""
        self.forgotten: list[tuple[str, bool]] = []
        self.away: CallUnanswered | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def secrets(self, namespace: str) -> KnownSecrets:
        self._answer()
        return KnownSecrets([one for one in self.known.values() if one.namespace == namespace])

    def namespaces(self) -> set[str]:
        self._answer()
        return {one.namespace for one in self.known.values()}

    def new_secret(self, namespace: str, service_account: str) -> NewSecret:
        self._answer()
        if service_account in self.revoked:
            raise CallRefused("ApplicationRevoked", "was revoked")
        self.made += 1
        self.changes[namespace] += 1
        secret = self.add(namespace, service_account, self._clock())
        application = f"acme:prod:{namespace}:{service_account}"
        return NewSecret(secret.id, application, credential(application, secret.id))

    def add(self, namespace: str, service_account: str, created_at: datetime) -> KnownSecret:
        """A secret that it knows, of whoever made it."""
        identifier = f"{len(self.known) + len(self.forgotten):032x}"
        secret = KnownSecret(identifier, namespace, service_account, created_at, created_at + LIFE)
        self.known[identifier] = secret
        return secret

    def forget_secret(self, secret_id: str, *, revoke: bool) -> None:
        self._answer()
        self.forgotten.append((secret_id, revoke))
        self.changes[self.known.pop(secret_id).namespace] += 1

    def _answer(self) -> None:
        self.calls += 1
        if self.calls > self.permitted:
            raise CallUnanswered("TooManyRequests", "wait")
        self.away = CallUnanswered("Unreachable", "away") if self.is_away else None
        if self.away is not None:
            raise self.away
