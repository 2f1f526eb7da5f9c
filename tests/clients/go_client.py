"""The program of go_module: the unmodified go-spiffe, built once; and what it writes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.controlplane.programs import Say, Source, programs
from tests.pod_agent.running import RunningPodAgent
from tests.waiting import PATIENCE_SECONDS

_SOURCE = Source(
    Path(__file__).parent / "go_module", {"go-client": "./go-client"}, "less than a minute, once"
)


def find_go_client(say: Say, environment: Mapping[str, str] = os.environ) -> Path:
    """Raises ProgramsUnavailableError."""
    return programs(say, environment, _SOURCE)["go-client"]


@contextmanager
def running_go_client(program: Path, agent: RunningPodAgent, rotations: int) -> Iterator[Iterator[Any]]:
    """What the program writes, one object after the other, until it ends. It must end well."""
    process = subprocess.Popen(
        [program, "-rotations", str(rotations)],
        env={**os.environ, "SPIFFE_ENDPOINT_SOCKET": agent.workload_socket},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield map(json.loads, process.stdout)
        _, complaint = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, complaint
    finally:
        process.kill()
        process.communicate()
