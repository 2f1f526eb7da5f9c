"""deploy/components/fail-closed on a real API server, while the webhook is away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.checkout import CHECKOUT
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.installation import SYSTEM
from tests.pods import pod, restricted_container
from tests.waiting import wait_for

LABELLED, OTHER = "fail-closed-labelled", "fail-closed-other"


@pytest.fixture
def closed(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    # kustomize takes no absolute paths.
    directory = tmp_path_factory.mktemp("overlay")
    deploy = os.path.relpath(CHECKOUT / "deploy", directory)
    (directory / "kustomization.yaml").write_text(
        f"resources: [{deploy}]\ncomponents: [{deploy}/components/fail-closed]\n"
    )
    control_plane.kubectl("apply", "-k", str(directory))
    for name in (LABELLED, OTHER):
        control_plane.kubectl("create", "namespace", name)
    control_plane.kubectl("label", "namespace", LABELLED, "vanadium.io/inject=enabled")
    yield control_plane
    control_plane.kubectl("delete", "namespace", LABELLED, OTHER, "--wait=false")
    control_plane.kubectl("apply", "-k", "deploy")


def test_without_the_webhook_only_pods_of_labelled_namespaces_are_refused(closed: ControlPlane) -> None:
    def created(namespace: str, labels: dict[str, str] | None = None) -> str:
        """Empty when it was; else why not."""
        subject = pod(restricted_container(), labels=labels)
        made = closed.kubectl(
            "create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(subject), check=False
        )
        return made.stderr

    wait_for("the policy", lambda: "failed calling webhook" in created(LABELLED))
    # Its label is for the webhook to read.
    assert "failed calling webhook" in created(LABELLED, {"vanadium.io/inject": "disabled"})
    # The webhook itself can come back, also where somebody labelled its namespace.
    closed.kubectl("label", "namespace", SYSTEM, "vanadium.io/inject=enabled")
    try:
        for namespace in (OTHER, SYSTEM):
            wait_for("a service account", lambda one=namespace: not created(one))  # type: ignore[misc]
    finally:
        closed.kubectl("label", "namespace", SYSTEM, "vanadium.io/inject-")
