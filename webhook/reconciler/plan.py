"""The plan for one namespace: what its Secret lacks, decided from values."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from webhook.reconciler.agent_secrets import KnownSecret

# After this time, every kubelet has updated the pods with a rotated credential, and the old one can be
# forgotten.
GRACE = timedelta(minutes=10)
# Our clock and the cluster agent's may differ by this much.
CLOCKS_DIFFER = timedelta(minutes=2)


@dataclass(frozen=True)
class Plan:
    """What to do for one namespace.

    `trust` are the entries that need the current roots. `delete` means the whole Secret. Certificates issued
    under secrets to `forget` are revoked. Those under secrets that a successor has `replace`d are not,
    because their replicas are still the same.
    """

    issue: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    delete: bool = False

    @property
    def writes(self) -> bool:
        return bool(self.issue or self.trust or self.remove or self.delete)


def plan(
    service_accounts: Collection[str] | None,
    stored: Mapping[str, str] | None,
    known: Collection[KnownSecret],
    roots_pem: str,
    now: datetime,
) -> Plan:
    """The plan that makes a namespace's Secret complete.

    Args:
        service_accounts: the namespace's; None when the namespace is not labelled, or is gone.
        stored: the Secret's data (service account → credential document); None when there is no Secret.
        known: the namespace's secrets at the cluster agent.
        roots_pem: the control plane's roots, which every entry must contain. A successor is published a week
            before it signs; by then every pod agent must trust it.
        now: the time.
    """
    if service_accounts is None:
        return Plan(forget=tuple(secret.id for secret in known), delete=stored is not None)
    by_id = {secret.id: secret for secret in known}
    current = {
        account: by_id[identifier]
        for account, document in (stored or {}).items()
        if (identifier := _id_of(document)) in by_id and by_id[identifier].service_account == account
    }
    issue = tuple(
        account
        for account in sorted(service_accounts)
        if account not in current or _is_due(current[account], now) or _is_early(current[account], known, now)
    )
    return Plan(
        issue=issue,
        trust=tuple(
            account
            for account in sorted(set(current) & set(service_accounts) - set(issue))
            if json.loads((stored or {})[account]).get("clusterAgentRoots") != roots_pem
        ),
        remove=tuple(account for account in sorted(stored or {}) if account not in service_accounts),
        forget=tuple(secret.id for secret in known if secret.service_account not in service_accounts),
        replace=tuple(
            secret.id
            for secret in known
            if secret.service_account in service_accounts and _is_replaced(secret, current, now)
        ),
    )


def _is_due(secret: KnownSecret, now: datetime) -> bool:
    """Whether the secret is in the last third of its life."""
    return secret.not_after - now < (secret.not_after - secret.created_at) / 3


def _is_early(secret: KnownSecret, known: Collection[KnownSecret], now: datetime) -> bool:
    """Whether the cluster agent's clock was ahead when it made the secret: the credential is not valid yet.

    With another one that seems early, it is our clock that is behind, and a third would not help.
    """
    early = [
        one.id
        for one in known
        if one.service_account == secret.service_account and one.created_at > now + CLOCKS_DIFFER
    ]
    return early == [secret.id]


def _is_replaced(secret: KnownSecret, current: Mapping[str, KnownSecret], now: datetime) -> bool:
    """Whether another secret has long replaced it.

    Replicas that renew under it are not cut off: when it is refused, a pod agent starts over with the
    credential that is mounted now.
    """
    successor = current.get(secret.service_account)
    return successor is not None and successor.id != secret.id and now - successor.created_at > GRACE


def _id_of(document: str) -> str | None:
    """The identifier in a credential document; None for a document that is not ours or is damaged."""
    try:
        credential = json.loads(document)
    except (ValueError, RecursionError):  # a client that may write Secrets there can nest JSON to any depth
        return None
    if not isinstance(credential, dict) or not credential.get("privateKey"):
        return None
    identifier = credential.get("id")
    return identifier if isinstance(identifier, str) else None
