"""The sidecar as a process, against a real cluster agent, and an unmodified SPIFFE client against it."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import stat
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from spiffe import WorkloadApiClient, X509Source
from spiffe.workloadapi.errors import FetchX509SvidError

from agent_client import AgentError
from blessings import fingerprint, verify_signature
from service.beginning import STEPS
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import TTL_SECONDS, RunningPodAgent, eventually, mount, running_pod_agent
from tests.waiting import PATIENCE_SECONDS, wait_for
from tests.workload_api import x509_svids


def test_the_agent_protocol_serves_names_chain_roots_and_signatures(blessed: RunningPodAgent) -> None:
    agent = blessed.client()
    assert [str(name) for name in agent.names()] == ["acme:prod:shop:web:web-1"]
    served = agent.chain()
    assert fingerprint(served.blessing.public_key) == served.public_key
    assert [str(root.pattern) for root in agent.roots()] == ["acme"]
    signature = agent.sign(b"message")
    assert signature.public_key == served.public_key
    assert verify_signature(served.blessing.public_key, b"message", signature.signature)


def test_watching_shows_each_renewal_with_a_new_key_and_the_same_name(renewing: RunningPodAgent) -> None:
    seen = list(islice(renewing.client().watch(), 3))
    versions = [one.version for one in seen]
    assert versions == sorted(set(versions))
    assert len({one.public_key for one in seen}) == 3
    assert {str(one.blessing.presented) for one in seen} == {"acme:prod:shop:web:web-1"}


def test_an_unmodified_spiffe_client_follows_a_rotation(renewing: RunningPodAgent) -> None:
    with X509Source(socket_path=renewing.workload_socket, timeout_in_seconds=PATIENCE_SECONDS) as source:
        first = source.get_x509_context().default_svid
        assert str(first.spiffe_id) == "spiffe://acme/prod/shop/web/web-1"
        assert len(first.cert_chain) == 2
        (bundle,) = source.get_x509_context().x509_bundle_set.bundles
        assert str(bundle.trust_domain) == "acme"
        assert len(bundle.x509_authorities) == 1
        # A message may also bring nothing but new revocation lists, with the same certificate.
        serial = first.leaf.serial_number
        eventually("a rotation", lambda: source.get_x509_context().default_svid.leaf.serial_number != serial)
        again = source.get_x509_context().default_svid
        assert again.spiffe_id == first.spiffe_id
        assert _public(again.private_key) == _public(again.leaf)
        assert _public(again.private_key) != _public(first.private_key)


def test_the_spiffe_client_fetches_bundles(blessed: RunningPodAgent) -> None:
    client = WorkloadApiClient(blessed.workload_socket)
    assert [str(bundle.trust_domain) for bundle in client.fetch_x509_bundles().bundles] == ["acme"]
    client.close()


def test_a_workload_call_without_the_security_header_is_refused(blessed: RunningPodAgent) -> None:
    with grpc.insecure_channel(blessed.workload_socket.replace("unix://", "unix:")) as channel:
        call: Any = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")
        with pytest.raises(grpc.RpcError) as caught:
            next(call(b""))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        wit: Any = channel.unary_unary("/SpiffeWorkloadAPI/FetchWITSVID")
        with pytest.raises(grpc.RpcError) as caught:
            wit(b"", metadata=[("workload.spiffe.io", "true")])
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_it_waits_for_an_absent_cluster_agent_and_says_so(tmp_path: Path, directory: Path) -> None:
    with running_cluster_agent(tmp_path) as agent:
        mount(directory, agent)
    with running_pod_agent(directory, agent.url) as running:
        eventually("health", lambda: running.get("/healthz").is_success)
        assert running.get("/readyz").status_code == 503
        with pytest.raises(AgentError, match="no valid blessing"):
            running.client().names()
        client = WorkloadApiClient(running.workload_socket)
        with pytest.raises(FetchX509SvidError, match="no identity issued"):
            client.fetch_x509_svid()
        client.close()
        eventually("a failed attempt", lambda: "Unreachable" in running.log())
        waiting = running.get("/readyz").json()
        assert (waiting["reason"], waiting["waitsFor"]) == ("NotYetBlessed", "connected")
        assert waiting["lastFailure"] == "Unreachable"


def test_it_is_blessed_once_the_cluster_agent_and_the_mounts_are_there(
    tmp_path: Path, directory: Path
) -> None:
    with running_pod_agent(directory, "https://127.0.0.1:1") as early:
        eventually("a log line", lambda: "NotMounted" in early.log())
    with running_cluster_agent(tmp_path) as agent, running_pod_agent(directory, agent.url) as running:
        eventually("it is up", lambda: running.get("/healthz").is_success)
        mount(directory, agent)
        running.wait_until_blessed()
        assert running.get("/readyz").json()["name"] == "acme:prod:shop:web:web-1"


def test_it_serves_what_it_has_until_it_ends_while_the_cluster_agent_is_away(
    tmp_path: Path, directory: Path
) -> None:
    with running_cluster_agent(tmp_path, ttl_seconds=TTL_SECONDS, minimum_ttl_seconds=1) as agent:
        mount(directory, agent)
        with (
            running_pod_agent(directory, agent.url) as running,
            grpc.insecure_channel(running.workload_socket) as channel,
        ):

            def opened() -> Any:
                stream = x509_svids(channel, timeout=2 * PATIENCE_SECONDS)
                next(stream)
                return stream

            running.wait_until_blessed()
            stream = wait_for("a stream", opened, not_yet=(grpc.RpcError,))
            held = next(running.client().watch())
            agent.process.send_signal(signal.SIGKILL)
            agent.process.wait()

            def has_no_names() -> bool:
                try:
                    return not running.client().names()
                except AgentError as error:
                    return "no valid blessing" in str(error)

            wait_for("the end", has_no_names)
            assert datetime.now(UTC) >= held.not_after
            assert running.get("/readyz").status_code == 503
            with pytest.raises(grpc.RpcError) as ended:
                list(stream)
            assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED
            eventually("a failed renewal", lambda: running.count("no new blessing"))

            def expiries_are_counted() -> bool:
                counted = f"\nvanadium_pod_agent_expiries_total {running.count('identity expired')}.0\n"
                return "identity expired" in running.log() and counted in running.get("/metrics").text

            eventually("the expiry", expiries_are_counted)


def test_a_forgotten_secret_is_left_for_the_one_mounted_now(
    cluster_agent: RunningClusterAgent, renewing: RunningPodAgent, directory: Path
) -> None:
    old = json.loads((directory / "credential.json").read_text())
    mount(directory, cluster_agent)
    with cluster_agent.control_plane_client() as administrator:
        administrator.post("/v1/forget-secret", json={"id": old["id"]}).raise_for_status()
    # The first of them may have been issued before.
    before = renewing.count("blessed")
    eventually("two blessings", lambda: renewing.count("blessed") >= before + 2)
    # Unless the machine was too slow to renew in time.
    assert "SecretForgotten" in renewing.log() or renewing.count("identity expired")
    names = {line["name"] for line in renewing.lines() if line["event"] == "blessed"}
    assert names == {"acme:prod:shop:web:web-1"}


def test_attack_a_cluster_agent_under_another_name_or_root_is_not_believed(
    cluster_agent: RunningClusterAgent, directory: Path, tmp_path: Path
) -> None:
    mount(directory, cluster_agent)
    wrong_name = {"cluster_agent_server_name": "webhook.vanadium-system.svc"}
    with running_pod_agent(directory, cluster_agent.url, **wrong_name) as running:
        eventually("a refusal", lambda: "Hostname mismatch" in running.log())
    with running_cluster_agent(tmp_path) as imposter, running_pod_agent(directory, imposter.url) as running:
        eventually("a refusal", lambda: "certificate verify failed" in running.log())
        assert "blessed" not in running.log().replace("no blessing", "").replace("NotYetBlessed", "")


def test_a_restarted_container_takes_its_sockets_over_and_serves_again(
    cluster_agent: RunningClusterAgent, directory: Path
) -> None:
    mount(directory, cluster_agent)
    with running_pod_agent(directory, cluster_agent.url) as first:
        first.wait_until_blessed()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert first.agent_socket.exists()
        with running_pod_agent(directory, cluster_agent.url) as second:
            second.wait_until_blessed()


def test_it_ends_although_streams_are_open_and_leaves_no_socket(blessed: RunningPodAgent) -> None:
    with X509Source(socket_path=blessed.workload_socket, timeout_in_seconds=PATIENCE_SECONDS):
        watching = blessed.client().watch()
        next(watching)
        blessed.process.send_signal(signal.SIGTERM)
        assert blessed.process.wait(PATIENCE_SECONDS) == 0
        assert list(watching) == []
    assert sorted(os.listdir(blessed.directory)) == [".lock", "credential.json", "log", "token"]


def test_the_sockets_are_for_every_user_of_the_pod(blessed: RunningPodAgent) -> None:
    for name in ("agent.sock", "workload.sock"):
        assert stat.S_IMODE((blessed.directory / name).stat().st_mode) == 0o666


@pytest.mark.parametrize("kind", ["file", "link"])
def test_attack_something_else_in_the_sockets_place_is_neither_followed_nor_removed(
    directory: Path, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    if kind == "file":
        (directory / "agent.sock").write_text("precious")
    else:
        (directory / "agent.sock").symlink_to(target)
    with running_pod_agent(directory, "https://127.0.0.1:1") as running:
        assert running.process.wait(PATIENCE_SECONDS) == 2
        assert "exists and is no socket" in running.log()
    assert target.read_text() == "precious"
    assert (directory / "agent.sock").exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"message": "%"}', 400),
        (b'{"message": 7}', 400),
        (b"[" * 60_000, 400),
        (b'{"message":' * 5000, 400),
        (b"x" * 70_000, 413),
    ],
)
@pytest.mark.parametrize("route", ["sign", "bless"])
def test_a_malformed_request_is_refused(
    blessed: RunningPodAgent, route: str, body: bytes, status: int
) -> None:
    transport = httpx.HTTPTransport(uds=str(blessed.agent_socket))
    with httpx.Client(transport=transport, base_url="http://agent") as client:
        assert client.post(f"/v1/{route}", content=body).status_code == status
        assert client.get("/v1/watch", params={"after": "1" * 5000}).status_code == 400
        assert "Traceback" not in blessed.log()
        good = {"message": base64.b64encode(b"still here").decode()}
        assert client.post("/v1/sign", json=good).is_success


def test_the_log_and_the_metrics_tell_of_it_without_a_secret(
    blessed: RunningPodAgent, directory: Path
) -> None:
    first = eventually(
        "an identity", lambda: [one for one in blessed.lines() if one["event"] == "first identity"]
    )
    metrics = blessed.get("/metrics").text
    assert re.search(r'^vanadium_pod_agent_seeks_total\{result="Blessed"\} [1-9]', metrics, re.MULTILINE)
    steps = re.findall(r'^vanadium_pod_agent_beginning_seconds\{step="(\w+)"\} [0-9]', metrics, re.MULTILINE)
    assert sorted(steps) == sorted(STEPS)
    (milliseconds,) = [one["milliseconds"] for one in first]
    taken = list(milliseconds.values())
    assert list(milliseconds) == list(STEPS)
    assert taken == sorted(taken)
    credential = json.loads((directory / "credential.json").read_text())
    assert (directory / "token").read_text() not in blessed.log()
    assert credential["privateKey"].splitlines()[1] not in blessed.log()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cluster_agent_url": "http://x"}, "--cluster-agent-url (VANADIUM_POD_AGENT_CLUSTER_AGENT_URL)"),
        ({"health_port": "99999"}, "--health-port (VANADIUM_POD_AGENT_HEALTH_PORT)"),
        ({"ttl_seconds": "soon"}, "--ttl-seconds (VANADIUM_POD_AGENT_TTL_SECONDS)"),
        ({"log_level": "loud"}, "--log-level (VANADIUM_POD_AGENT_LOG_LEVEL)"),
        ({"unknown": "x"}, "unrecognized arguments: --unknown=x"),
    ],
)
def test_a_wrong_setting_stops_the_program_with_its_name(
    directory: Path, settings: dict[str, object], said: str
) -> None:
    url = str(settings.pop("cluster_agent_url", "https://127.0.0.1:1"))
    with running_pod_agent(directory, url, **settings) as running:
        assert running.process.wait(PATIENCE_SECONDS) == 2
        assert said in running.log()


def _public(holder: object) -> bytes:
    key = holder.public_key()  # type: ignore[attr-defined]  # a key or a certificate
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded
