"""The bootstrap credential of an application that gets another name.

The cluster agent revokes the one for the previous name, and the webhook makes the next. By itself the webhook
looks every five minutes, and Pods wait meanwhile; it looks at once when the namespace changes, so vkube
writes an annotation there.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from vkube.connection.cluster import Cluster
from vkube.connection.cluster_agent import ClusterAgent
from vkube.errors import ClusterError
from vkube.output.lines import note
from vkube.workloads.live import MANAGER

ANNOTATION = "vanadium.io/named-at"
_SECONDS, _LOOK_SECONDS = 30.0, 0.5


def has_credential(agent: ClusterAgent, namespace: str, service_account: str) -> bool:
    """Returns whether the application has a bootstrap credential that is in force."""
    found = agent.pages("/v1/secrets", "secrets", limit=1000, namespace=namespace)
    return any(one["serviceAccount"] == service_account for one in found)


def ask_for_credentials(cluster: Cluster, namespace: str) -> bool:
    """Lets the webhook look at the namespace now. Returns whether that was allowed."""
    value = {"metadata": {"annotations": {ANNOTATION: datetime.now(UTC).isoformat()}}}
    try:
        cluster.patch(f"/api/v1/namespaces/{namespace}", value, fieldManager=MANAGER)
    except ClusterError as error:
        note(f"the webhook makes the next credential of {namespace} within five minutes ({error})")
        return False
    return True


def await_credential(cluster: Cluster, agent: ClusterAgent, namespace: str, service_account: str) -> None:
    """Waits until the webhook has made the next credential; notes it when that takes long."""
    if not ask_for_credentials(cluster, namespace):
        return
    ends_at = time.monotonic() + _SECONDS
    while not has_credential(agent, namespace, service_account):
        if time.monotonic() > ends_at:
            note(
                f"{namespace}/{service_account} has no credential for its new name yet; its Pods wait for it "
                "(vkube logs webhook)"
            )
            return
        time.sleep(_LOOK_SECONDS)
