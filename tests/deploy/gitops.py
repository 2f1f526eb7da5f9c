"""The overlays under GitOps, with Flux's and Argo CD's own code: `python -m tests.deploy.gitops`.

A real API server. Flux's package ssa (flux_module), and Argo CD's engine (argo_module) in both of its ways to
apply, with pruning, each apply every overlay. Then the webhook's own code writes caBundle with the webhook's
rights, and there are the Secrets that the programs make. A second reconciliation has to find no difference,
by any way of comparing that the engine has, and to change nothing; caBundle and the Secrets stay. Building
them takes some minutes, once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from certs.rotation import ROOT_SECRET
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import Source, go_toolchain, programs
from tests.deploy.custom_resources import define
from tests.deploy.test_overlays import WAYS, ca_bundles, kustomization, live, write_ca_bundle
from tests.endtoend.installation import SYSTEM
from tests.waiting import wait_for

_FLUX, _ARGO = (
    Source(Path(__file__).parent / f"{name}_module", {name: f"./{name}"}, "some minutes, once")
    for name in ("flux", "argo")
)
# What the programs make there, and no manifest has.
_MADE = (ROOT_SECRET, "webhook-serving", "cluster-agent-serving")


def main() -> None:
    flux, argo = programs(_say, source=_FLUX)["flux"], programs(_say, source=_ARGO)["argo"]
    engines = {
        "Flux": [str(flux)],
        "Argo CD": [str(argo)],
        "Argo CD, server-side": [str(argo), "--server-side"],
    }
    for name, command in engines.items():
        for way, parts in WAYS.items():
            if way == "monitoring":  # an application of its own, beside an installation
                continue
            with tempfile.TemporaryDirectory() as directory, ControlPlane(programs(_say)) as control_plane:
                define(control_plane, go_toolchain(_say))
                _reconcile_twice(control_plane, command, kustomization(Path(directory), parts))
            _say(f"{name}: {way}: the second reconciliation finds and changes nothing")


def _reconcile_twice(control_plane: ControlPlane, command: list[str], directory: Path) -> None:
    _reconcile(control_plane, command, directory)
    wait_for("the webhook's account", lambda: control_plane.kubectl.exists("sa", "webhook", "-n", SYSTEM))
    write_ca_bundle(control_plane)
    for name in _MADE:
        if not control_plane.kubectl.exists("secret", name, "-n", SYSTEM):
            control_plane.kubectl("create", "secret", "generic", name, "-n", SYSTEM)
    bundles, before = ca_bundles(control_plane), live(control_plane, directory)
    assert all(bundles), bundles
    found = _reconcile(control_plane, command, directory)
    assert not any(found["differences"].values()), json.dumps(found["differences"], indent=1)
    assert live(control_plane, directory) == before, found["applied"]
    assert ca_bundles(control_plane) == bundles
    for name in _MADE:
        control_plane.kubectl("get", "secret", name, "-n", SYSTEM)


def _reconcile(control_plane: ControlPlane, command: list[str], directory: Path) -> dict[str, Any]:
    manifests = control_plane.kubectl("kustomize", str(directory)).stdout
    done = subprocess.run(
        command,
        input=manifests,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KUBECONFIG": str(control_plane.kubeconfig)},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
