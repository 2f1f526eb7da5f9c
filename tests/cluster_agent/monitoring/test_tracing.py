"""The program's traces, as a receiver gets them; and issuances while no receiver takes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from blessings import Principal
from tests.cluster_agents import (
    RunningClusterAgent,
    free_port,
    pod_token,
    running_cluster_agent,
    with_environment,
)
from tests.csrs import csr_of
from tests.otlp_receiver import Received, Receiver, running_receiver
from tests.waiting import PATIENCE_SECONDS, wait_for

SEEK = "POST /v1/seek-blessings"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@dataclass
class Traced:
    agent: RunningClusterAgent
    receiver: Receiver
    credential: dict[str, Any]

    def seek(self, pod: str, **headers: str) -> httpx.Response:
        body = {"csr": csr_of(Principal.create()), "token": pod_token(self.agent.tokens, pod)}
        with self.agent.credential_client(self.credential) as client:
            return client.post("/v1/seek-blessings", json=body, headers=headers)

    def span_of(self, pod: str) -> Received:
        """The request in which that pod got its blessing."""
        return self.receiver.wait_for(
            lambda one: one.attributes.get("vanadium.name") == f"acme:prod:shop:web:{pod}"
        )

    def refused(self, reason: str) -> Received:
        return self.receiver.wait_for(
            lambda one: (
                one.span.kind == one.span.SPAN_KIND_SERVER
                and one.attributes.get("vanadium.refusal.reason") == reason
            )
        )


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """An agent whose traces are received at once."""
    with running_receiver() as receiver:
        start = with_environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **SOON)
        directory = tmp_path_factory.mktemp("traced")
        with running_cluster_agent(directory, start=start, rate_per_address=1000) as agent:
            yield Traced(agent, receiver, agent.new_secret()["credential"])


def test_an_issuance_is_a_request_with_its_stages(observed: Traced) -> None:
    assert observed.seek("whole").status_code == 200
    request = observed.span_of("whole")
    assert request.name == SEEK
    assert request.span.kind == request.span.SPAN_KIND_SERVER
    caller = request.attributes.pop("vanadium.caller")
    assert caller.startswith("vanadium-bootstrap:")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/seek-blessings",
        "url.path": "/v1/seek-blessings",
        "url.scheme": "https",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "vanadium.caller": caller,
        "vanadium.application": "shop/web",
        "vanadium.name": "acme:prod:shop:web:whole",
        "vanadium.result": "issued",
    }
    stages = observed.receiver.children(request)
    assert [one.name for one in stages] == ["entitlement", "attestation", "signing", "store"]
    assert {one.span.trace_id for one in stages} == {request.span.trace_id}
    assert request.span.status.code == request.span.status.STATUS_CODE_UNSET
    assert request.resource["service.name"] == "vanadium-cluster-agent"


def test_a_refusal_says_why_in_its_request_and_in_the_stage_that_refused(observed: Traced) -> None:
    body = {"csr": csr_of(Principal.create()), "token": ""}
    with observed.agent.credential_client(observed.credential) as client:
        assert client.post("/v1/seek-blessings", json=body).status_code == 403
    request = observed.refused("TokenMissing")
    assert request.attributes["vanadium.result"] == "refused"
    assert request.attributes["vanadium.application"] == "shop/web"
    assert "vanadium.name" not in request.attributes
    stages = observed.receiver.children(request)
    assert [one.name for one in stages] == ["entitlement", "attestation"]
    assert stages[1].attributes["vanadium.refusal.reason"] == "TokenMissing"


def test_attack_a_caller_neither_joins_a_trace_nor_hides_from_ours(observed: Traced) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    # Not sampled, says the caller; its vendor's state would be ours to carry on.
    response = observed.seek(
        "hidden", traceparent=f"00-{trace}-{span}-00", tracestate="evil=1", baggage="k=v"
    )
    assert response.status_code == 200
    request = observed.span_of("hidden").span
    assert request.trace_id.hex() != trace
    assert not request.parent_span_id
    assert [(one.trace_id.hex(), one.span_id.hex()) for one in request.links] == [(trace, span)]
    assert not request.trace_state
    assert not request.links[0].trace_state


@pytest.mark.parametrize(
    ("number", "given"),
    [(0, ""), (1, "00-00000000000000000000000000000000-b7ad6b7169203331-01"), (2, "nonsense" * 20)],
)
def test_a_traceparent_that_is_none_is_no_link(observed: Traced, number: int, given: str) -> None:
    assert observed.seek(f"unlinked-{number}", traceparent=given).status_code == 200
    assert not observed.span_of(f"unlinked-{number}").span.links


def test_attack_nothing_that_a_caller_sends_or_gets_is_in_a_trace(observed: Traced) -> None:
    csr, token = csr_of(Principal.create()), pod_token(observed.agent.tokens, "silent")
    headers = {"host": "evil-host", "user-agent": "evil-agent", "authorization": "Bearer evil-header"}
    with observed.agent.credential_client(observed.credential) as client:
        body = {"csr": csr, "token": token}
        answer = client.post("/v1/seek-blessings?token=evil-query", json=body, headers=headers)
        assert answer.status_code == 200
        assert client.get("/evil-path").status_code == 404
        # What a pydantic or JSON error would repeat.
        assert (
            client.post("/v1/seek-blessings", json={"csr": 7, "token": token, "evil-field": 1}).status_code
            == 400
        )
        assert client.post("/v1/seek-blessings", json={"csr": "evil-csr", "token": token}).status_code == 400
        assert (
            client.post("/v1/seek-blessings", json={"csr": csr, "token": token + "evil"}).status_code == 403
        )
        assert client.request("PROPFIND", "/v1/roots").status_code == 405
    observed.span_of("silent")
    last = observed.receiver.wait_for(lambda one: one.attributes.get("http.request.method") == "_OTHER")
    assert last.attributes["http.response.status_code"] == 405
    missing = observed.receiver.wait_for(lambda one: one.attributes.get("url.path") == "REDACTED")
    assert missing.attributes["vanadium.refusal.reason"] == "NotServed"
    sent = b"".join(observed.receiver.bodies)
    header, payload, signature = token.split(".")
    pem_line = csr.splitlines()[2]
    chain_line = answer.json()["chain"].splitlines()[2]
    key_line = observed.credential["privateKey"].splitlines()[1]
    for secret in (header, payload, signature, pem_line, chain_line, key_line, "evil"):
        assert secret.encode() not in sent, secret


def test_the_spans_are_counted(observed: Traced) -> None:
    assert observed.seek("counted").status_code == 200
    observed.span_of("counted")
    wait_for_spans(observed.agent, "exported", 5)


def test_what_waits_is_sent_before_the_program_ends(tmp_path: Path) -> None:
    with running_receiver() as receiver:
        start = with_environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="3600000",
            OTEL_SERVICE_NAME="issuer",
        )
        with running_cluster_agent(tmp_path, start=start) as agent:
            one = Traced(agent, receiver, agent.new_secret()["credential"])
            assert one.seek("last").status_code == 200
            assert receiver.bodies == []
            agent.process.send_signal(signal.SIGTERM)
            assert agent.process.wait(PATIENCE_SECONDS) == 0
        assert one.span_of("last").resource["service.name"] == "issuer"


def test_a_sampler_is_taken_from_the_environment(tmp_path: Path) -> None:
    with running_receiver() as receiver:
        start = with_environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_TRACES_SAMPLER="always_off", **SOON
        )
        with running_cluster_agent(tmp_path, start=start) as agent:
            one = Traced(agent, receiver, agent.new_secret()["credential"])
            sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            # A caller that asks to be recorded is not.
            assert one.seek("unseen", traceparent=sampled).status_code == 200
            agent.process.send_signal(signal.SIGTERM)
            assert agent.process.wait(PATIENCE_SECONDS) == 0
        assert receiver.bodies == []


def test_while_the_receiver_is_away_issuing_goes_on_and_what_failed_is_counted(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    start = with_environment(OTEL_EXPORTER_OTLP_ENDPOINT=nobody, OTEL_EXPORTER_OTLP_TIMEOUT="0.2", **SOON)
    with running_cluster_agent(tmp_path, start=start) as agent, running_receiver() as receiver:
        one = Traced(agent, receiver, agent.new_secret()["credential"])
        assert [one.seek(f"web-{number}").status_code for number in range(5)] == [200] * 5
        wait_for_spans(agent, "failed", 1)
        assert '"event": "traces"' in agent.log()


def test_while_the_receiver_hangs_issuing_goes_on_and_what_is_too_much_is_dropped(tmp_path: Path) -> None:
    with running_receiver() as receiver:
        receiver.answers.clear()
        start = with_environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT="600",
            OTEL_BSP_MAX_QUEUE_SIZE="8",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
            **SOON,
        )
        with running_cluster_agent(tmp_path, start=start) as agent:
            one = Traced(agent, receiver, agent.new_secret()["credential"])
            assert [one.seek(f"web-{number}").status_code for number in range(10)] == [200] * 10
            # Fifty spans and more of these, and eight of them wait.
            assert spans_of(agent)["dropped"] >= 50 - 8
            agent.process.send_signal(signal.SIGTERM)
            # It gives up on the receiver, which has ten minutes to answer.
            assert agent.process.wait(PATIENCE_SECONDS) == 0
        assert '"event": "traces not sent"' in agent.log()


def test_attack_calls_beyond_a_rate_are_not_recorded_and_push_nobody_out(tmp_path: Path) -> None:
    with running_receiver() as receiver:
        start = with_environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **SOON)
        with running_cluster_agent(tmp_path, start=start, rate_per_address=0.001) as agent:
            one = Traced(agent, receiver, agent.new_secret()["credential"])
            assert [one.seek("web-1").status_code for _ in range(9)] == [200, *[429] * 8]
            with agent.control_plane_client() as client:
                client.get("/v1/secrets").raise_for_status()
            # What ended before it was sent before it.
            receiver.wait_for(lambda span: span.attributes.get("http.route") == "/v1/secrets")
            assert one.span_of("web-1").attributes["http.response.status_code"] == 200
            assert 429 not in [span.attributes.get("http.response.status_code") for span in receiver.spans]


def test_without_an_endpoint_nothing_of_tracing_is_loaded_or_shown() -> None:
    loaded = "import sys, cluster_agent.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "cluster_agent.monitoring.tracing_settings" in modules
    assert not {"cluster_agent.monitoring.tracing", "opentelemetry.sdk", "requests"} & set(modules)


def run_program(code: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The program, which ends by itself because something is wrong."""
    arguments = ["--name-prefix", "acme:prod", "--data-directory", str(directory)]
    return subprocess.run(
        [sys.executable, "-c", f"{code}\nfrom cluster_agent.__main__ import main\nmain()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **variables},
    )


def test_traces_without_their_libraries_are_a_clear_error_at_the_start(tmp_path: Path) -> None:
    """An import that fails stands for an environment without the extra."""
    missing = "import sys; sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None"
    done = run_program(missing, tmp_path)
    assert done.returncode == 2
    assert "vanadium-cluster[cluster-agent,tracing]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ("OTEL_RESOURCE_ATTRIBUTES", "nonsense"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "long"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
    ],
)
def test_a_variable_that_the_sdk_would_ignore_is_an_error_at_the_start(
    tmp_path: Path, variable: str, value: str
) -> None:
    done = run_program("", tmp_path, **{"OTEL_TRACES_SAMPLER": "traceidratio", variable: value})
    assert done.returncode == 2
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"] == "the program ends"
    assert last["error"].startswith("OTEL_")
    assert "Traceback" not in done.stderr


def test_a_credential_among_the_headers_is_not_repeated(tmp_path: Path) -> None:
    done = run_program("", tmp_path, OTEL_EXPORTER_OTLP_HEADERS="secret-without-a-name")
    assert done.returncode == 2
    assert "OTEL_EXPORTER_OTLP_HEADERS" in done.stderr
    assert "secret-without-a-name" not in done.stderr


def spans_of(agent: RunningClusterAgent) -> dict[str, float]:
    text = httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text
    prefix = 'vanadium_cluster_agent_trace_spans_total{result="'
    lines = [line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix)]
    return {result: float(value) for result, value in (line.split('"} ') for line in lines)}


def wait_for_spans(agent: RunningClusterAgent, result: str, at_least: int) -> None:
    wait_for(
        f"spans {result}", lambda: spans_of(agent)[result] >= at_least, story=lambda: str(spans_of(agent))
    )
