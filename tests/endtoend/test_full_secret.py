"""The fullest Secret, at a real API server and etcd."""

from __future__ import annotations

from tests.controlplane.control_plane import ControlPlane
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
    written = full.store.secrets["shop"]
    store.write("full", written, None)
    for _ in range(2):
        stored = store.read("full")
        assert stored is not None
        assert stored.files == written
        written = {**written, "_roots.pem": "other roots"}
        store.write("full", written, stored)
