"""SPIFFE libraries of other languages, tried by command: to build their programs takes a test run too long.

A program is given a number of rotations. It writes a line of JSON for each certificate, and one for the
JWT-SVID.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.cluster_agents import running_cluster_agent
from tests.controlplane.programs import cache_directory
from tests.pod_agent.running import mount, running_pod_agent, short_directory

# Renewed at half of it.
_TTL_SECONDS = 20
_ID = "spiffe://acme/prod/shop/web/web-1"


def main(about: str, build: Callable[[Path], Sequence[str | Path]]) -> None:
    """Runs the program that `build` makes in a directory of the cache; exits with 1 when it got less than it
    should."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rotations", type=int, default=3)
    rotations = parser.parse_args().rotations
    directory = cache_directory() / "clients"
    directory.mkdir(parents=True, exist_ok=True)
    written = run([*build(directory), str(rotations)])
    for one in written:
        print(json.dumps(one))
    x509 = {"kind": "x509", "id": _ID, "roots": 1}
    jwt = {"kind": "jwt", "id": _ID, "keys": 1, "validated": _ID, "otherAudience": True}
    sys.exit(0 if written == [x509] * (rotations + 1) + [jwt] else "that is not what was expected")


def run(command: Sequence[str | Path]) -> list[Any]:
    """What the program writes beside a pod agent."""
    with (
        tempfile.TemporaryDirectory() as made,
        running_cluster_agent(Path(made), ttl_seconds=_TTL_SECONDS, minimum_ttl_seconds=1) as cluster_agent,
        short_directory() as directory,
    ):
        mount(directory, cluster_agent)
        with running_pod_agent(directory, cluster_agent.url) as agent:
            agent.wait_until_blessed()
            environment = {**os.environ, "SPIFFE_ENDPOINT_SOCKET": agent.workload_socket}
            ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in ended.stdout.splitlines()]
