"""The execution of a plan: gets new credentials from the cluster agent, and writes them without a lost
update."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import ExitStack
from datetime import datetime

import structlog

from certs import Stored
from webhook.reconciler.agent_secrets import AgentSecrets, KnownSecret
from webhook.reconciler.plan import Plan, plan
from webhook.reconciler.secret_store import SecretStore

_log = structlog.stdlib.get_logger("webhook.reconciler")


def reconcile(
    namespace: str,
    service_accounts: Collection[str] | None,
    known: Collection[KnownSecret],
    *,
    agent: AgentSecrets,
    store: SecretStore,
    now: datetime,
) -> Plan:
    """Makes the namespace's Secret complete, and returns what was done.

    Raises VersionConflict when another replica wrote first (unused new credentials are forgotten by then),
    and CallError when the cluster agent refuses or is away.
    """
    stored = store.read(namespace)
    roots_pem = agent.roots.to_pem()
    todo = plan(service_accounts, stored.files if stored else None, known, roots_pem, now)
    # Revocation comes first: if the Secret were deleted first and this failed, its certificates would stay
    # valid.
    for secret_id in todo.forget:
        agent.forget_secret(secret_id, revoke=True)
        _log.info("secret forgotten", namespace=namespace, id=secret_id)
    for secret_id in todo.replace:
        agent.forget_secret(secret_id, revoke=False)
        _log.info("secret forgotten, it has a successor", namespace=namespace, id=secret_id)
    if todo.writes:
        _write(namespace, todo, stored, agent, store)
        _log.info(
            "bootstrap secret written",
            namespace=namespace,
            issued=todo.issue,
            trusting=todo.trust,
            removed=todo.remove,
            deleted=todo.delete,
        )
    return todo


def _write(
    namespace: str, todo: Plan, stored: Stored | None, agent: AgentSecrets, store: SecretStore
) -> None:
    if todo.delete and stored is not None:
        store.delete(namespace, stored)
        return
    entries = stored.files if stored else {}
    data = {account: text for account, text in entries.items() if account not in todo.remove}
    roots = {"clusterAgentRoots": agent.roots.to_pem()}
    for account in todo.trust:
        data[account] = json.dumps({**json.loads(data[account]), **roots})
    # Whatever fails, a credential that was not written is also forgotten at the cluster agent.
    with ExitStack() as undo:
        for account in todo.issue:
            secret = agent.new_secret(namespace, account)
            undo.callback(agent.forget_secret, secret.id, revoke=True)
            data[account] = json.dumps({**secret.credential, **roots})
        store.write(namespace, data, stored)
        undo.pop_all()
