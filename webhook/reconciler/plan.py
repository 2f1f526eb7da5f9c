"""The plan for one namespace: what its Secret lacks, decided from values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from webhook.layout import ROOTS_KEY
from webhook.reconciler.agent_secrets import KnownSecret, KnownSecrets
from webhook.reconciler.entries import MOST_BYTES_WITH_NEW_ENTRIES, Entry, read_entry, size

# After this time, every kubelet has updated the pods with a rotated credential, and the old one can be
# forgotten; and what a replica of the webhook made has been written, or will never be.
GRACE = timedelta(minutes=10)
# Our clock and the cluster agent's may differ by this much.
CLOCKS_DIFFER = timedelta(minutes=2)
# More than an entry takes. Only the last accounts that fit need to wait until those before them are there.
_ENTRY_BYTES = 1200


@dataclass(frozen=True)
class Plan:
    """What to do for one namespace.

    `trust` states that the Secret does not have the current roots; `delete` means the whole Secret.
    Certificates issued under secrets to `forget` are revoked. Those under secrets to `replace` are not: they
    have a successor with the same replicas, or were never in the Secret. For the service accounts in `excess`
    there is no room, as far as is known before those to `issue` are there.
    """

    issue: tuple[str, ...] = ()
    trust: bool = False
    remove: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()
    delete: bool = False


def plan(
    service_accounts: Collection[str] | None,
    stored: Mapping[str, str] | None,
    known: KnownSecrets,
    roots_pem: str,
    now: datetime,
) -> Plan:
    """The plan that makes a namespace's Secret complete.

    Args:
        service_accounts: the namespace's; None when the namespace is not labelled, or is gone.
        stored: the Secret's data; None when there is no Secret.
        known: the namespace's secrets at the cluster agent.
        roots_pem: the control plane's roots, which the Secret must contain. A successor is published a week
            before it signs; by then every pod agent must trust it.
        now: the time.
    """
    if service_accounts is None:
        return Plan(forget=tuple(secret.id for secret in known.secrets), delete=stored is not None)
    accounts, data = frozenset(service_accounts), stored or {}
    entries = {account: read_entry(text) for account, text in data.items() if account in accounts}
    current = _current(entries, known)
    # Of a list that was cut, the entries that are not in it count as good: nothing proves the contrary.
    unseen = {account for account, entry in entries.items() if entry.id is not None} - set(current)
    held = set(current) if known.complete else set(current) | unseen
    early = _early(known.secrets, now)
    due = [
        account for account, secret in sorted(current.items()) if _is_due(secret, now) or secret.id in early
    ]
    fitting, excess = _fit(sorted(accounts - held), {one: data[one] for one in entries})
    return Plan(
        issue=(*fitting, *due),
        trust=bool(held) and not _trusts(data, entries, roots_pem),
        remove=tuple(key for key in sorted(data) if key not in accounts and key != ROOTS_KEY),
        forget=tuple(secret.id for secret in known.secrets if secret.service_account not in accounts),
        replace=_replaced(
            [secret for secret in known.secrets if secret.service_account in accounts],
            current,
            kept=held - set(current),
            without=() if fitting else excess,
            now=now,
        ),
        excess=excess,
    )


def _current(entries: Mapping[str, Entry], known: KnownSecrets) -> dict[str, KnownSecret]:
    """The secret in each account's entry, where it is one of that account."""
    by_id = {secret.id: secret for secret in known.secrets}
    found = {account: by_id.get(entry.id or "") for account, entry in entries.items()}
    return {
        account: secret
        for account, secret in found.items()
        if secret is not None and secret.service_account == account
    }


def _fit(missing: Iterable[str], stored: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The accounts for which there is room beside what is stored, and the others."""
    fitting, excess, used = [], [], size(stored)
    for account in missing:
        # A new entry takes the place of one that cannot be used.
        bytes_more = 0 if account in stored else _ENTRY_BYTES + 2 * len(account)
        if used + bytes_more <= MOST_BYTES_WITH_NEW_ENTRIES or account in stored:
            fitting.append(account)
            used += bytes_more
        else:
            excess.append(account)
    return tuple(fitting), tuple(excess)


def _trusts(data: Mapping[str, str], entries: Mapping[str, Entry], roots_pem: str) -> bool:
    return data.get(ROOTS_KEY) == roots_pem and all(
        entry.roots in (None, roots_pem) for entry in entries.values()
    )


def _is_due(secret: KnownSecret, now: datetime) -> bool:
    """Whether the secret is in the last third of its life."""
    return secret.not_after - now < (secret.not_after - secret.created_at) / 3


def _early(secrets: Iterable[KnownSecret], now: datetime) -> frozenset[str]:
    """The secrets that the cluster agent made while its clock was ahead: the credential is not valid yet.

    Where another one of the account seems early, it is our clock that is behind, and a third would not help.
    """
    found: dict[str, list[str]] = {}
    for secret in secrets:
        if secret.created_at > now + CLOCKS_DIFFER:
            found.setdefault(secret.service_account, []).append(secret.id)
    return frozenset(ids[0] for ids in found.values() if len(ids) == 1)


def _replaced(
    secrets: Collection[KnownSecret],
    current: Mapping[str, KnownSecret],
    *,
    kept: Collection[str],
    without: Collection[str],
    now: datetime,
) -> tuple[str, ...]:
    """The secrets that no replica needs: another one has long replaced it, or it never came into the Secret.

    Replicas that renew under one are not cut off: when it is refused, a pod agent starts over with the
    credential that is mounted now. Where there is no other yet, that may be the oldest one.
    """
    oldest: dict[str, KnownSecret] = {}
    for secret in sorted(secrets, key=lambda one: one.created_at):
        oldest.setdefault(secret.service_account, secret)

    def is_replaced(secret: KnownSecret) -> bool:
        account = secret.service_account
        successor = current.get(account)
        if account in kept or now - secret.created_at <= GRACE:
            return False
        if successor is not None:
            return successor.id != secret.id and now - successor.created_at > GRACE
        return account in without or secret.id != oldest[account].id

    return tuple(secret.id for secret in secrets if is_replaced(secret))
