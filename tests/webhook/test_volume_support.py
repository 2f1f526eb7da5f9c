"""When a cluster's kubelets can keep identities in a volume."""

from __future__ import annotations

import pytest

from webhook.kubelets import cells_of
from webhook.layout import TRUST_BUNDLE
from webhook.volume_support import RESOURCES, Kubelet, VolumeSupport, support

ABLE = Kubelet("node-1", "v1.37.2")


@pytest.mark.parametrize("version", ["v1.37.0", "v1.37.2-eks-1a2b3c", "v1.38.0+k3s1", "v2.0.0"])
def test_a_kubelet_of_1_37_or_newer_can(version: str) -> None:
    assert support(RESOURCES, [Kubelet("a", version)], [TRUST_BUNDLE]) == VolumeSupport(None)


@pytest.mark.parametrize("version", ["v1.36.9", "v1.9.0", "", "1.37.0", "v1.37", "v9999999999.1.0", "none"])
def test_an_older_kubelet_and_one_that_states_no_version_cannot(version: str) -> None:
    found = support(RESOURCES, [Kubelet("old", version)], [TRUST_BUNDLE])
    assert found.impossible == (f"1 of 1 nodes have a kubelet older than 1.37, for example old ({version})")
    found = support(RESOURCES, [ABLE, Kubelet("old", version)], [TRUST_BUNDLE])
    assert found.impossible is None
    assert found.incomplete == found.objection
    assert found.incomplete == f"1 of 2 nodes have a kubelet older than 1.37, for example old ({version})"


def test_an_api_server_without_the_resources_cannot() -> None:
    found = support(["clustertrustbundles", "certificatesigningrequests"], [ABLE], [TRUST_BUNDLE])
    assert found.impossible == (
        "the API server does not serve podcertificaterequests of certificates.k8s.io/v1"
    )


def test_a_cluster_agent_that_keeps_no_roots_signs_for_no_kubelet() -> None:
    found = support(RESOURCES, [ABLE], [])
    assert "there is no ClusterTrustBundle vanadium.io:replica:roots" in str(found.impossible)


def test_a_cluster_that_has_no_node_yet_hinders_nothing() -> None:
    assert support(RESOURCES, [], [TRUST_BUNDLE]) == VolumeSupport(None)


def test_what_a_node_states_about_itself_fills_no_message() -> None:
    found = support(RESOURCES, [Kubelet("n" * 10_000, "v" * 10_000)], [TRUST_BUNDLE])
    assert len(str(found.impossible)) < 300


def test_attack_what_a_node_states_about_itself_commands_no_terminal() -> None:
    """kubectl prints the message of a refusal as it is."""
    found = support(RESOURCES, [Kubelet("node", "v1.30.0\x1b[2J\n\u202e")], [TRUST_BUNDLE])
    assert "example node (v1.30.0?[2J??)" in str(found.impossible)


def test_nodes_are_read_from_the_table_that_an_api_server_prints() -> None:
    table = {
        "columnDefinitions": [{"name": "Name"}, {"name": "Status"}, {"name": "Version"}],
        "rows": [{"cells": ["a", "Ready", "v1.37.2"], "object": None}],
    }
    assert cells_of(table, "Name", "Version") == [["a", "v1.37.2"]]
    assert cells_of({**table, "rows": None}, "Name") == []


def test_the_federated_trust_domains_are_those_that_have_a_bundle_in_order_and_bounded() -> None:
    bundles = [TRUST_BUNDLE, *(f"vanadium.io:replica:federated-{name}" for name in ("partner", "a.example"))]
    assert support(RESOURCES, [ABLE], bundles).federated == ("a.example", "partner")
    many = [TRUST_BUNDLE, *(f"vanadium.io:replica:federated-{one}" for one in range(1000))]
    assert len(support(RESOURCES, [ABLE], many).federated) == 32
