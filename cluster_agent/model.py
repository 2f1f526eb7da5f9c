"""Which name an application has. It follows from the namespace and the service account alone, because
those are what a pod-bound token proves; nothing that a pod's author may write has a say in it."""

from __future__ import annotations

from dataclasses import dataclass

from blessings import InvalidName, Name
from cluster_agent.errors import BadRequest


@dataclass(frozen=True)
class Application:
    """All pods of one service account in one namespace."""

    namespace: str
    service_account: str

    def name_under(self, prefix: Name) -> Name:
        """`<prefix>:<namespace>:<service account>`. Raises BadRequest when one of them is no component."""
        try:
            return Name((*prefix.components, self.namespace, self.service_account))
        except InvalidName as error:
            raise BadRequest("InvalidApplication", str(error)) from error
