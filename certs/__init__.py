"""The control plane's own certificates: made, stored, renewed with overlap, and published to the API server
as `caBundle`.

    bundle = ensure(DirectoryStore(directory), now=now)
    bundle.webhook.chain_pem, bundle.webhook.key_pem, bundle.roots
"""

from certs.issue import CLUSTER_AGENT, WEBHOOK, ControlPlaneServer
from certs.rotation import ControlPlaneCertificates, ensure
from certs.store import Store, Stored, VersionConflict

__all__ = [
    "CLUSTER_AGENT",
    "WEBHOOK",
    "ControlPlaneCertificates",
    "ControlPlaneServer",
    "Store",
    "Stored",
    "VersionConflict",
    "ensure",
]
