"""The fullest Secret, at a real API server and etcd."""

from __future__ import annotations

from certs.store import VersionConflict
from tests.controlplane.control_plane import ControlPlane
from tests.waiting import wait_for
from tests.webhook.reconciler.test_many_accounts import Namespace
from webhook.kubernetes_clients import connect
from webhook.reconciler.kubernetes_secrets import KubernetesSecrets


def test_attack_a_secret_full_of_the_longest_names_is_one_that_the_api_server_takes(
    control_plane: ControlPlane,
) -> None:
    """etcd takes 1.5 MiB at once, with each key twice: also in managedFields."""
    full = Namespace(0)
    full.accounts = frozenset(f"{number:05}-{'n' * 247}" for number in range(2000))
    full.turns()
    control_plane.kubectl("create", "namespace", "full")
    store = KubernetesSecrets(connect(control_plane.kubeconfig))

    def is_taken_and_replaced() -> bool:
        """False when a webhook of another test, whose namespace this is not, deleted it meanwhile."""
        control_plane.kubectl("delete", "secret", "vanadium-bootstrap", "-n", "full", "--ignore-not-found")
        written = full.store.secrets["shop"]
        store.write("full", written, None)
        for _ in range(2):
            if (stored := store.read("full")) is None:
                return False
            assert stored.files == written
            written = {**written, "_roots.pem": "other roots"}
            store.write("full", written, stored)
        return True

    wait_for("the writes", is_taken_and_replaced, not_yet=(VersionConflict,))
