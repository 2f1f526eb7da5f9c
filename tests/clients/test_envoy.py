"""Two real Envoys with the configurations of examples/envoy, and secrets from our pod agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.document import block, replaced
from tests.clients.envoys import EXAMPLE, SOCKET, Back, Front, pod, running_back, running_front
from tests.clients.rotation import exchange
from tests.cluster_agents import RunningClusterAgent
from tests.pod_agent.running import TTL_SECONDS
from tests.waiting import wait_for
from tests.webhook.applying import injected
from tests.webhook.pod_security import restricted

ROTATIONS = 3


@pytest.fixture(scope="module")
def back(
    envoy: Path, cluster_agent: RunningClusterAgent, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Back]:
    with running_back(envoy, cluster_agent, tmp_path_factory.mktemp("back")) as running:
        yield running


@pytest.fixture(scope="module")
def front(
    envoy: Path, cluster_agent: RunningClusterAgent, back: Back, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("front")
    with pod(cluster_agent, "front") as agent, running_front(envoy, agent, back, directory) as running:
        yield running


@pytest.fixture(scope="module")
def renewing_back(
    envoy: Path, cluster_agent: RunningClusterAgent, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Back]:
    directory = tmp_path_factory.mktemp("renewing-back")
    with running_back(envoy, cluster_agent, directory, ttl_seconds=TTL_SECONDS) as running:
        yield running


@pytest.fixture(scope="module")
def renewing_front(
    envoy: Path,
    cluster_agent: RunningClusterAgent,
    renewing_back: Back,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("renewing-front")
    with (
        pod(cluster_agent, "front", TTL_SECONDS) as agent,
        running_front(envoy, agent, renewing_back, directory) as running,
    ):
        yield running


def test_each_knows_the_other_and_the_application_reads_who_calls(front: Front) -> None:
    answer = front.get()
    assert (answer.status_code, answer.text) == (200, "spiffe://acme/prod/shop/front/web-1")


def test_no_request_fails_while_both_certificates_change(renewing_front: Front, renewing_back: Back) -> None:
    front, back = renewing_front, renewing_back
    expired, before, handshakes = expiries(front, back), troubles(front, back), handshakes_of(front)
    traffic = exchange(front, back, ROTATIONS)
    assert traffic.failures == []
    # Where the machine was too slow to renew in time, requests must fail, and streams end.
    if not traffic.late and expiries(front, back) == expired:
        assert handshakes_of(front) - handshakes >= traffic.requests / 2
        assert troubles(front, back) == before


API_SOURCE = """api_config_source:
                    api_type: GRPC
                    transport_api_version: V3
                    grpc_services: [{envoy_grpc: {cluster_name: pod-agent}}]"""


def test_envoy_by_files_has_the_identity_through_rotations_without_a_socket(
    envoy: Path, renewing_front: Front, back: Back, tmp_path: Path
) -> None:
    agent = renewing_front.agent
    files = str(agent.directory / "files")
    documents = replaced(block("Envoy by files", "yaml"), {"/run/vanadium-files": files}).split("---\n")
    for name, document in zip(("certificate", "roots"), documents, strict=True):
        (tmp_path / f"{name}.yaml").write_text(document)
    changes = {
        API_SOURCE: f"path_config_source: {{path: {tmp_path}/certificate.yaml}}",
        "sds_config: *sds": "sds_config: "
        f"{{resource_api_version: V3, path_config_source: {{path: {tmp_path}/roots.yaml}}}}",
        SOCKET: "/nowhere",
    }
    with running_front(envoy, agent, back, tmp_path, **changes) as by_files:
        presented: set[str] = set()

        def rotated() -> bool:
            answer = by_files.get()
            # While the machine is too slow to renew in time, requests must fail.
            if answer.status_code == 200:
                assert answer.text == "spiffe://acme/prod/shop/front/web-1"
                presented.add(by_files.envoy.certificate()["serial_number"])
            return len(presented) > ROTATIONS

        wait_for("rotations", rotated, story=by_files.envoy.log)


def expiries(front: Front, back: Back) -> int:
    return sum(one.agent.count("identity expired") for one in (front, back))


def handshakes_of(front: Front) -> int:
    return front.envoy.counters(r"^cluster\.back\.ssl\.handshake$")["cluster.back.ssl.handshake"]


def troubles(front: Front, back: Back) -> list[dict[str, int]]:
    """Streams of secrets that ended, rejected secrets, and failed handshakes. At its start Envoy fails
    before it can ask."""
    kept = r"^sds\..*\.update_(rejected|failure)$|^cluster\.back\.ssl\.(connection_error|fail_.*)$"
    return [one.envoy.counters(kept) for one in (front, back)]


def test_attack_a_replica_of_another_application_is_refused_by_back(
    envoy: Path, cluster_agent: RunningClusterAgent, back: Back, tmp_path: Path
) -> None:
    before = refused_by(back)
    with pod(cluster_agent, "thief") as agent, running_front(envoy, agent, back, tmp_path) as thief:

        def is_refused() -> bool:
            assert thief.get().status_code == 503
            return refused_by(back) > before

        wait_for("the refusal", is_refused)


def refused_by(back: Back) -> int:
    return sum(back.envoy.counters(r"^listener\..*\.ssl\.fail_verify_san$").values())


def test_attack_another_application_in_the_place_of_back_is_refused_by_front(
    envoy: Path, front: Front, back: Back, tmp_path: Path
) -> None:
    other = {"spiffe://acme/prod/shop/back/": "spiffe://acme/prod/shop/bank/"}
    with running_front(envoy, front.agent, back, tmp_path, **other) as victim:

        def refuses() -> bool:
            assert victim.get().status_code == 503
            return any(victim.envoy.counters(r"^cluster\.back\.ssl\.fail_verify_san$").values())

        wait_for("the refusal", refuses)


@pytest.mark.parametrize("roots", ["spiffe://acme", "ALL"])
def test_the_other_names_of_roots_and_of_the_certificate_work_as_well(
    envoy: Path, front: Front, back: Back, tmp_path: Path, roots: str
) -> None:
    changes = {
        "name: ROOTCA": f"name: {roots}",
        "name: default": "name: spiffe://acme/prod/shop/front/web-1",
    }
    with running_front(envoy, front.agent, back, tmp_path, **changes) as other:
        assert other.get().status_code == 200


def test_in_the_manifests_envoy_alone_gets_the_sockets() -> None:
    manifests = list(yaml.safe_load_all((EXAMPLE / "deployment.yaml").read_text()))
    for name in ("back", "front"):
        template = named_manifest(manifests, "Deployment", name)["spec"]["template"]
        spec = injected(template)["spec"]
        assert restricted({"spec": spec}) == []
        mounts = {one["name"]: one.get("volumeMounts", []) for one in spec["containers"]}
        assert "vanadium-socket" in [one["name"] for one in mounts["envoy"]]
        assert "vanadium-socket" not in [one["name"] for one in mounts[name]]


@pytest.mark.parametrize("name", ["back", "front"])
def test_the_page_shows_what_the_example_has(name: str) -> None:
    shown = yaml.safe_load(block("Envoy", "yaml"))["common_tls_context"]
    shown["combined_validation_context"].pop("default_validation_context")
    example = yaml.safe_load((EXAMPLE / f"{name}.yaml").read_text())
    (context,) = common_tls_contexts(example)
    del context["tls_params"]
    context["combined_validation_context"].pop("default_validation_context")
    assert context == shown


def common_tls_contexts(configuration: Any) -> Iterator[dict[str, Any]]:
    if isinstance(configuration, list):
        for one in configuration:
            yield from common_tls_contexts(one)
    elif isinstance(configuration, dict):
        if "common_tls_context" in configuration:
            yield configuration["common_tls_context"]
        yield from common_tls_contexts(list(configuration.values()))


def test_the_manifests_use_the_configurations() -> None:
    kustomization = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())
    files = {one["name"]: one["files"] for one in kustomization["configMapGenerator"]}
    assert files == {"envoy-back": ["envoy.yaml=back.yaml"], "envoy-front": ["envoy.yaml=front.yaml"]}
    assert kustomization["resources"] == ["deployment.yaml"]


def named_manifest(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found
