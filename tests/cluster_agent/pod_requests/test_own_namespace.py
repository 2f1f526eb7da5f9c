"""Our own namespace gets no identities, wherever the installation is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster_agent.program.pod_requests import never

_OF_CLUSTER = {"kube-system", "kube-public", "kube-node-lease"}


@pytest.mark.parametrize("content", ["identity", "identity\n"])
def test_attack_a_label_on_the_namespace_of_another_installation_gives_nobody_a_name(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "namespace").write_text(content)
    assert never(tmp_path / "token") == {*_OF_CLUSTER, "identity"}


@pytest.mark.parametrize("content", [None, ""])
def test_without_the_kubelets_file_it_is_that_of_the_manifests(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "namespace").write_text(content)
    assert never(tmp_path / "token") == {*_OF_CLUSTER, "vanadium-system"}
