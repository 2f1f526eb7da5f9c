"""Many pod agents while the cluster agent is killed and away for half a life: `python -m tests.bench.outage`.

All programs are real, on this machine: they take 40 MiB for each pod agent, and two to three lives. It ends
with 1 when an identity lapsed, or when the renewals after the return came at more than three times the usual
rate.
tests/pod_agent/test_fleet.py does the same by a clock that it turns.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cluster_agents import (
    RunningClusterAgent,
    as_arguments,
    pod_token,
    running_cluster_agent,
    start_preloaded,
    wait_until_up,
)
from tests.pod_agent.running import RunningPodAgent, running_pod_agent, short_directory
from tests.pod_agent.test_fleet import most_within

# All are at one address here, and start within one life.
_ROOM: dict[str, Any] = {
    "max_connections_per_address": 4000,
    "max_connections": 4000,
    "rate_per_application": 10_000,
}

# Of the cluster agent, which belongs to the outage.
_STARTING_SECONDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pod-agents", type=int, default=200)
    parser.add_argument("--life-seconds", type=int, default=300)
    asked = parser.parse_args()
    life = timedelta(seconds=asked.life_seconds)
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        cluster_agent = stack.enter_context(
            running_cluster_agent(Path(made), ttl_seconds=asked.life_seconds, minimum_ttl_seconds=1, **_ROOM)
        )
        fleet = list(_fleet(stack, cluster_agent, asked.pod_agents, life))
        print(f"{len(fleet)} pod agents have an identity", flush=True)
        time.sleep(life.total_seconds())
        gone = datetime.now().astimezone()
        cluster_agent.process.send_signal(signal.SIGKILL)
        cluster_agent.process.wait()
        print("the cluster agent is killed", flush=True)
        time.sleep(life.total_seconds() / 2 - _STARTING_SECONDS)
        cluster_agent.process = start_preloaded(as_arguments(cluster_agent.flags), cluster_agent.log_file)
        wait_until_up(cluster_agent)
        back = datetime.now().astimezone()
        print(f"it is back after {(back - gone).total_seconds():.0f} s", flush=True)
        time.sleep(0.75 * life.total_seconds())
        logs = [[json.loads(line) for line in one.log().splitlines()] for one in fleet]
    sys.exit(_judged(logs, life, gone, back))


def _fleet(
    stack: ExitStack, agent: RunningClusterAgent, many: int, life: timedelta
) -> Iterator[RunningPodAgent]:
    """So many replicas of one application, started throughout half of a life."""
    credential = json.dumps(agent.new_secret()["credential"])
    for number in range(many):
        directory = stack.enter_context(short_directory())
        (directory / "credential.json").write_text(credential)
        (directory / "token").write_text(pod_token(agent.tokens, f"web-{number}"))
        began = time.monotonic()
        running = stack.enter_context(running_pod_agent(directory, agent.url))
        running.wait_until_blessed()
        yield running
        time.sleep(max(0.0, began + life.total_seconds() / 2 / many - time.monotonic()))


def _judged(logs: list[list[dict[str, str]]], life: timedelta, gone: datetime, back: datetime) -> int:
    lines = [line for log in logs for line in log]
    lapses = sum(line["event"] == "identity expired" for line in lines)
    renewals = [datetime.fromisoformat(line["timestamp"]) for line in lines if line["event"] == "blessed"]
    window = life / 10
    usual = sum(gone - life / 2 <= one < gone for one in renewals) / 5
    after = most_within([one for one in renewals if one >= back], window)
    print(f"identities that lapsed: {lapses}")
    print(f"renewals in {window.total_seconds():.0f} s: {usual:.1f} before on average,")
    print(f"  {after} at most after the return, {after / usual:.2f} times as many")
    print(
        f"pod agents that have renewed since: {sum(_renewed_since(log, back) for log in logs)} of {len(logs)}"
    )
    return 1 if lapses or after > 3 * usual else 0


def _renewed_since(log: list[dict[str, str]], back: datetime) -> bool:
    return any(
        line["event"] == "blessed" and datetime.fromisoformat(line["timestamp"]) >= back for line in log
    )


if __name__ == "__main__":
    main()
