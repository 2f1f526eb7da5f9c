"""Definitions of the custom resources that overlays use, from the Go modules of those who define them.

`go mod download` fetches a module once into Go's own cache (4 MB each, two seconds), and its sum is compared
with the one here, as go.sum's would be.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane.control_plane import ControlPlane


@dataclass(frozen=True)
class Definitions:
    """Files of one module."""

    module: str
    sum: str
    files: tuple[str, ...]

    def paths(self, go: Path) -> list[Path]:
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"}
        command = [str(go), "mod", "download", "-json", self.module]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/")
        found = json.loads(done.stdout or "{}")
        assert done.returncode == 0, found.get("Error", done.stderr)
        assert found["Sum"] == self.sum, f"{self.module} is not what it was: {found['Sum']}"
        return [Path(found["Dir"], file) for file in self.files]


CERT_MANAGER = Definitions(
    "github.com/cert-manager/cert-manager@v1.21.2",
    "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
    ("deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"),
)
PROMETHEUS_OPERATOR = Definitions(
    "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
    ("example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",),
)


def define(control_plane: ControlPlane, go: Path) -> list[Path]:
    """Makes the API server know them. Returns the files, by which they can be deleted."""
    files = [path for one in (CERT_MANAGER, PROMETHEUS_OPERATOR) for path in one.paths(go)]
    for file in files:
        control_plane.kubectl("apply", "--server-side", "-f", str(file))
    for file in files:
        control_plane.kubectl("wait", "--for=condition=Established", "-f", str(file), "--timeout=60s")
    return files
