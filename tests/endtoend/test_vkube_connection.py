"""How vkube reaches a cluster: with the rights of its user, and with a plain reason where these do not do."""

from __future__ import annotations

from pathlib import Path

from tests.endtoend.installation import SYSTEM, Installation, flags
from tests.vkube.command import PLAIN, called, vkube


def test_the_clusters_own_right_administers(installed: Installation) -> None:
    said = vkube("register", "vkube-connection", "web", "acme:prod:Connected", *flags(installed))
    assert "vkube-connection/web is acme:prod:Connected, by a grant of the agent's own" in said
    assert "vkube-connection/web  acme:prod:Connected\n" in vkube("applications", *flags(installed))
    outside = vkube("register", "vkube-connection", "x", "elsewhere:x", *flags(installed), ends=1)
    assert "only the holder of the root can grant it: name --credentials" in outside
    vkube("unregister", "vkube-connection", "web", *flags(installed))


def test_credentials_of_another_root_are_named_as_such(installed: Installation, tmp_path: Path) -> None:
    vkube("principal", "create", PLAIN, tmp_path / "root", "acme")
    said = vkube("applications", *flags(installed), "--credentials", tmp_path / "root", ends=1)
    assert said.startswith(
        "vkube: the server does not recognise your root: acme:administrator is under the key "
    )
    assert "this cluster agent recognises acme " in said


def test_a_user_without_rights_is_told_which_secret_is_needed(installed: Installation) -> None:
    control_plane = installed.control_plane
    token = control_plane.kubectl("create", "token", "default", "-n", SYSTEM).stdout.strip()
    ours = ["--kubeconfig", control_plane.kubeconfig_for(token, "vkube-nobody")]
    said = vkube("applications", *ours, "--cluster-agent", installed.cluster_agent_url, ends=1)
    assert said == (
        "vkube: you may not read Secret vanadium-system/cluster-agent-serving, which is needed to verify the "
        "cluster agent; or name --ca\n"
    )


def test_an_installation_that_is_not_there_is_told(installed: Installation, tmp_path: Path) -> None:
    """No Pod of the cluster agent runs here, so there is none to forward a port of."""
    said = vkube("applications", "--kubeconfig", installed.control_plane.kubeconfig, ends=1)
    assert "no Pod of cluster-agent runs in the namespace vanadium-system of context" in said
    (tmp_path / "vkube.cfg").write_text("clusterAgent: {namespace: elsewhere}")
    said = vkube("applications", *flags(installed), "--config", tmp_path / "vkube.cfg", ends=1)
    assert "there is no Secret elsewhere/cluster-agent-serving in context" in said


def test_servers_that_do_not_answer_are_3(installed: Installation, tmp_path: Path) -> None:
    away = ["--kubeconfig", installed.control_plane.kubeconfig, "--cluster-agent", "https://127.0.0.1:1"]
    ended = called("applications", *away)
    assert (ended.code, ended.stdout) == (3, "")
    assert "the cluster agent does not answer: GET https://127.0.0.1:1/v1/applications" in ended.stderr
    config = installed.control_plane.kubeconfig.read_text()
    (tmp_path / "kubeconfig").write_text(config.replace(installed.control_plane.url, "https://127.0.0.1:1"))
    ended = called("applications", "--kubeconfig", tmp_path / "kubeconfig")
    assert (ended.code, ended.stdout) == (3, "")
    assert "does not answer: " in ended.stderr
    assert "Connection refused" in ended.stderr
    assert ended.stderr.count("\n") == 1
