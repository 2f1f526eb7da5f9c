"""What the cluster's kubelets can do, and what the cluster agent signs for them, looked up beside the
admissions, which call nobody.

It asks for the table that `kubectl get nodes` prints, because a whole Node has tens of kilobytes.
https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog

from certs.api_server import API_SERVER_ERRORS, ApiServerRefusal, BoundedApiClient
from service.cluster_agent_client import ClusterAgentClient
from service.errors import CallError
from service.supervisor import BackOff, Task
from service.threads import in_daemon_thread
from webhook.application_ttls import ApplicationTtls, read
from webhook.layout import SIGNER
from webhook.reconciler.worker import AgentNotReady
from webhook.volume_support import GROUP_VERSION, NOT_LOOKED, Kubelet, VolumeSupport, support

_EVERY_SECONDS = 15.0
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_PAGE = 500
_GROUP = f"/apis/{GROUP_VERSION}"
_BUNDLES = f"{_GROUP}/clustertrustbundles"
_OF_SIGNER = {"fieldSelector": f"spec.signerName={SIGNER}", "includeObject": "None"}
# No Pod for Windows gets an identity. Of each node the table alone: its metadata is as long as it is, too.
_NODES = {"labelSelector": "kubernetes.io/os!=windows", "includeObject": "None"}

_log = structlog.stdlib.get_logger("webhook.kubelets")


class Kubelets:
    """What is known of them; for use by several threads. The tasks run in one event loop."""

    def __init__(self, support: VolumeSupport = NOT_LOOKED) -> None:
        """`support` holds until `task` has found out."""
        self.support = support

    def task(self, api: BoundedApiClient) -> Task:
        """Keeps it up to date. What was found last holds while the API server does not answer."""

        async def look() -> None:
            found = await in_daemon_thread("kubelets", lambda: _support(api))
            found = found._replace(ttls=self.support.ttls)
            if found != self.support:
                self.support = found
                _log.info(
                    "identities in volumes", possible=found.objection is None, objection=found.objection
                )

        return Task(
            "kubelets",
            look,
            period=_EVERY_SECONDS,
            failure="what the kubelets can do was not read",
            expected=API_SERVER_ERRORS,
            back_off=BackOff(1.0, _EVERY_SECONDS),
        )

    def ttls_task(self, connect: Callable[[], ClusterAgentClient]) -> Task:
        """Keeps the applications' TTLs up to date. What was found last holds while the cluster agent does not
        answer. `connect` opens a client; it may raise AgentNotReady."""

        async def look() -> None:
            found = await in_daemon_thread("application-ttls", lambda: _ttls(connect))
            if found != self.support.ttls:
                self.support = self.support._replace(ttls=found)
                _log.info(
                    "applications' TTLs",
                    default=found.default,
                    registered=len(found.registered),
                    complete=found.are_all,
                )

        return Task(
            "application-ttls",
            look,
            period=_EVERY_SECONDS,
            failure="the applications' TTLs were not read",
            expected=(CallError, AgentNotReady),
            back_off=BackOff(1.0, _EVERY_SECONDS),
        )


def _ttls(connect: Callable[[], ClusterAgentClient]) -> ApplicationTtls:
    """Raises CallError, AgentNotReady."""
    with connect() as agent:
        return read(agent.call)


def _support(api: BoundedApiClient) -> VolumeSupport:
    """Raises what the client raises."""
    try:
        served = api.json("GET", _GROUP)
    except ApiServerRefusal as refusal:
        if refusal.status != HTTPStatus.NOT_FOUND:
            raise
        served = {}
    names = [str(one.get("name")) for one in served.get("resources") or []]
    bundles = _table(api, _BUNDLES, _OF_SIGNER, "Name") if "clustertrustbundles" in names else []
    kubelets = [Kubelet(*cells) for cells in _table(api, "/api/v1/nodes", _NODES, "Name", "Version")]
    return support(names, kubelets, [name for (name,) in bundles])


def _table(api: BoundedApiClient, path: str, selection: Mapping[str, str], *columns: str) -> list[list[str]]:
    """These columns of the objects at `path`."""
    rows: list[list[str]] = []
    following = ""
    while True:
        page = {**selection, "limit": str(_PAGE), **({"continue": following} if following else {})}
        table = api.json("GET", path, query=page, accept=_TABLE)
        rows += cells_of(table, *columns)
        following = table["metadata"].get("continue") or ""
        if not following:
            return rows


def cells_of(table: Any, *columns: str) -> list[list[str]]:
    """These columns of a table's rows."""
    names = [one["name"] for one in table["columnDefinitions"]]
    places = [names.index(one) for one in columns]
    return [[str(row["cells"][place]) for place in places] for row in table.get("rows") or []]
