"""The execution of a plan: gets new credentials from the cluster agent, and writes them without a lost
update."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

import structlog

from certs import Stored
from service.errors import CallError
from webhook.layout import ROOTS_KEY
from webhook.reconciler import entries
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.plan import Plan, plan
from webhook.reconciler.secret_store import SecretStore

# Secrets that one turn of a namespace makes; forgets with their certificates; and forgets without. Other
# namespaces wait meanwhile.
MOST_AT_ONCE = 50
_REVOKED = "ApplicationRevoked"
_log = structlog.stdlib.get_logger("webhook.reconciler")


@dataclass(frozen=True)
class Turn:
    """What one turn of a namespace did.

    Attributes:
        made, forgotten: so many secrets of the cluster agent.
        wrote: the Secret was written or deleted.
        is_last: nothing is left that another turn could do now.
        excess: the service accounts for which the Secret has no room, known at the last turn.
    """

    made: int = 0
    forgotten: int = 0
    wrote: bool = False
    is_last: bool = True
    excess: tuple[str, ...] = ()


def reconcile(
    namespace: str,
    service_accounts: Collection[str] | None,
    *,
    agent: AgentSecrets,
    store: SecretStore,
    now: datetime,
    most: int = MOST_AT_ONCE,
) -> Turn:
    """Makes the namespace's Secret complete, or as much of it as `most` calls of each kind do.

    Raises VersionConflict when another replica wrote first (unused new credentials are forgotten by then),
    and CallError when the cluster agent refuses or is away; what it had made by then is written.
    """
    stored = store.read(namespace)
    # In this order: every credential that was written when the Secret was read is in the list.
    known = agent.secrets(namespace)
    todo = plan(service_accounts, stored.files if stored else None, known, agent.roots.to_pem(), now)
    # Revocation comes first: if the Secret were deleted first and this failed, its certificates would stay
    # valid.
    forget, replace = todo.forget[:most], todo.replace[:most]
    for secret_id in forget:
        agent.forget_secret(secret_id, revoke=True)
    for secret_id in replace:
        agent.forget_secret(secret_id, revoke=False)
    is_last = known.complete and (forget, replace) == (todo.forget, todo.replace)
    made, wrote = 0, False
    if not todo.delete:
        made, tried, wrote = _write(namespace, todo, stored, agent, store, most)
        # Which accounts are in excess is known once all those before them are there.
        is_last = is_last and tried == len(todo.issue) and not (made and todo.excess)
    elif is_last and stored is not None:
        store.delete(namespace, stored)
        wrote = True
    forgotten = len(forget) + len(replace)
    if wrote or forgotten:
        _log.info(
            "namespace reconciled",
            namespace=namespace,
            made=made,
            removed=len(todo.remove),
            forgotten=forgotten,
            deleted=wrote and todo.delete,
        )
    # Where nothing could be done, another turn would do as little.
    is_last = is_last or not (made or forgotten)
    return Turn(made, forgotten, wrote, is_last, todo.excess if is_last else ())


def _write(
    namespace: str, todo: Plan, stored: Stored | None, agent: AgentSecrets, store: SecretStore, most: int
) -> tuple[int, int, bool]:
    """Makes the credentials that are missing, and writes them. Returns how many were made, for how many
    service accounts that was tried, and whether something was written."""
    before = stored.files if stored else {}
    data = {key: text for key, text in before.items() if key not in todo.remove and key != ROOTS_KEY}
    roots_pem = agent.roots.to_pem()
    made, tried, failure = 0, 0, None
    # Whatever fails, a credential that was not written is also forgotten at the cluster agent.
    with ExitStack() as undo:
        for account in todo.issue:
            if made == most:
                break
            tried += 1
            try:
                secret = agent.new_secret(namespace, account)
            except CallError as error:
                if error.reason == _REVOKED:
                    _log.info("no secret for a revoked application", namespace=namespace, account=account)
                    continue
                failure = error
                break
            undo.callback(agent.forget_secret, secret.id, revoke=True)
            made += 1
            data[account] = entries.renewed(data.get(account), secret.credential, roots_pem)
        wrote = bool(made or todo.trust or todo.remove)
        if wrote:
            store.write(namespace, entries.complete(data, roots_pem), stored)
        undo.pop_all()
    if failure is not None:
        raise failure
    return made, tried, wrote
