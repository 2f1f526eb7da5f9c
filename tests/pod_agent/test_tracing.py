"""What the pod agent's log and the cluster agent's traces have in common."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cluster_agents import running_cluster_agent, with_environment
from tests.otlp_receiver import running_receiver
from tests.pod_agent.running import eventually, mount, running_pod_agent, short_directory


def test_a_refusal_in_the_log_leads_to_the_request_in_the_traces(tmp_path: Path) -> None:
    with running_receiver() as receiver:
        start = with_environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_BSP_SCHEDULE_DELAY="50")
        with running_cluster_agent(tmp_path, start=start) as agent, short_directory() as directory:
            mount(directory, agent)
            (directory / "token").write_text("no.token.this")
            with running_pod_agent(directory, agent.url) as pod:
                said = re.compile(r"\(trace ([0-9a-f]{32})\): 403 TokenNotAuthenticated")
                trace = eventually("a refusal", lambda: said.findall(pod.log()))[0]
            request = receiver.wait_for(
                lambda one: [link.trace_id.hex() for link in one.span.links] == [trace]
            )
        assert request.name == "POST /v1/seek-blessings"
        assert request.attributes["vanadium.refusal.reason"] == "TokenNotAuthenticated"
        assert request.span.trace_id.hex() != trace
