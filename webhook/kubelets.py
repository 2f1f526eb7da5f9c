"""What the cluster's kubelets can do, looked up beside the admissions, which call nobody.

It asks for the table that `kubectl get nodes` prints, because a whole Node has tens of kilobytes.
https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog

from certs.api_server import API_SERVER_ERRORS, ApiServerRefusal, BoundedApiClient
from service.supervisor import BackOff, Task
from service.threads import in_daemon_thread
from webhook.layout import TRUST_BUNDLE
from webhook.volume_support import GROUP_VERSION, NOT_LOOKED, Kubelet, VolumeSupport, support

_EVERY_SECONDS = 15.0
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_PAGE = 500
_GROUP = f"/apis/{GROUP_VERSION}"
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
    served = _found(api, _GROUP)
    names = [str(one.get("name")) for one in (served or {}).get("resources") or []]
    has_trust_bundle = _found(api, f"{_GROUP}/clustertrustbundles/{TRUST_BUNDLE}") is not None
    return support(names, _kubelets(api), has_trust_bundle=has_trust_bundle)


def _found(api: BoundedApiClient, path: str) -> Any:
    try:
        return api.json("GET", path)
    except ApiServerRefusal as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def _kubelets(api: BoundedApiClient) -> list[Kubelet]:
    kubelets: list[Kubelet] = []
    following = ""
    while True:
        page = {**_NODES, "limit": str(_PAGE), **({"continue": following} if following else {})}
        table = api.json("GET", "/api/v1/nodes", query=page, accept=_TABLE)
        kubelets += of_table(table)
        following = table["metadata"].get("continue") or ""
        if not following:
            return kubelets


def of_table(table: Any) -> list[Kubelet]:
    """The kubelets of a table of nodes."""
    columns = [one["name"] for one in table["columnDefinitions"]]
    name, version = columns.index("Name"), columns.index("Version")
    cells = [row["cells"] for row in table.get("rows") or []]
    return [Kubelet(str(one[name]), str(one[version])) for one in cells]
