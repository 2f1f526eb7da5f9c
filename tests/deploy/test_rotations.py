"""The control plane's root and the webhook's certificate change while Pods are created."""

from __future__ import annotations

from pathlib import Path

from tests.controlplane.control_plane import ControlPlane
from tests.deploy.rotations import Rotating


def test_no_pod_is_left_without_identity_while_root_and_certificate_rotate(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    rotating = Rotating(control_plane, tmp_path)
    with rotating.running():
        for _ in range(2):
            rotating.rotate()
    assert rotating.counts.failures == []
    assert rotating.counts.rotations == 2
    assert rotating.counts.pods > 2
    assert rotating.counts.handshakes > 2
