"""The control plane's own certificates: made, stored, renewed with overlap, and published to the API server
as `caBundle`.

    bundle = ensure(DirectoryStore(directory), now=now)
    bundle.webhook.chain_pem, bundle.webhook.key_pem, bundle.roots
"""

from certs.issue import CLUSTER_AGENT, WEBHOOK, Identity
from certs.rotation import ControlPlaneCertificates, ensure
from certs.store import Conflict, Store, Stored

__all__ = [
    "CLUSTER_AGENT",
    "WEBHOOK",
    "Conflict",
    "ControlPlaneCertificates",
    "Identity",
    "Store",
    "Stored",
    "ensure",
]
