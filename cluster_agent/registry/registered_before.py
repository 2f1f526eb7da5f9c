"""Registered names that would be refused now. An older version, or another access list, let them in.

They stay in force, because taking a name away cuts off who has it; so an administrator must be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from blessings import Name
from cluster_agent.callers import Administrators
from cluster_agent.errors import BadRequest
from cluster_agent.model import Application
from cluster_agent.registry.registry import Registration, check_name

_log = structlog.get_logger(__name__)


def objections(
    registered: Iterable[Registration], *, prefix: Name, administrators: Administrators
) -> dict[Application, str]:
    """Why which of them could not be registered any more."""
    registered = list(registered)
    found = {}
    for one in registered:
        try:
            check_name(one.name, one.application, prefix=prefix, administrators=administrators)
        except BadRequest as error:
            found[one.application] = str(error)
            continue
        for other in registered:
            if other is not one and _in_the_way(one.name, other.name):
                found[one.application] = (
                    f"{other.application.namespace}/{other.application.service_account} is {other.name}, and "
                    "a pod's name can make the one of them the other"
                )
    return found


def report(found: Mapping[Application, str], registered: Mapping[Application, Registration]) -> None:
    """Says in the log which they are, and what to do."""
    for application, objection in found.items():
        _log.error(
            "registered name would be refused now; register the application under another",
            namespace=application.namespace,
            serviceAccount=application.service_account,
            name=str(registered[application].name),
            objection=objection,
        )


def _in_the_way(one: Name, other: Name) -> bool:
    return one == other or one.is_extension_of(other) or other.is_extension_of(one)
