"""What the cluster's kubelets can do, looked up beside the admissions, which call nobody.

It asks for the table that `kubectl get nodes` prints, because a whole Node has tens of kilobytes.
https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog

from certs.api_server import API_SERVER_ERRORS, ApiServerRefusal, BoundedApiClient
from service.supervisor import BackOff, Task
from service.threads import in_daemon_thread
from webhook.layout import SIGNER
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
    """What is known of them; for use by several threads."""

    def __init__(self, support: VolumeSupport = NOT_LOOKED) -> None:
        """`support` holds until `task` has found out."""
        self.support = support

    def task(self, api: BoundedApiClient) -> Task:
        """Keeps it up to date. What was found last holds while the API server does not answer."""

        async def look() -> None:
            found = await in_daemon_thread("kubelets", lambda: _support(api))
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
