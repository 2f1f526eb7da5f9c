"""What the dashboard costs beside many replicas: how long its reading of the real cluster agent takes, how
long and how large its page is, and how long the browser takes to bring it up to date.

    python -m tests.bench.dashboard [--replicas 50,5000,20000]

The replicas are written into the cluster agent's store, fifty to an application. Prints numbers and judges
nothing: they are this machine's, at this moment. The browser's are left out where there is no Chromium.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert

from blessings.directory import DirectoryPrincipal
from cluster_agent.store import tables
from tests.chromium import Chromium, browser, find_chromium
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.vkube.dashboard.sample import served
from vkube.connection.cluster_agent import ClusterAgent
from vkube.dashboard.identities import Place
from vkube.dashboard.page import page
from vkube.dashboard.sources import Source, agent_source
from vkube.dashboard.state import AgentFacts, State

_OF_EACH = 50
_ROUNDS = 5
_REFRESH = (
    "(async () => { const begun = performance.now(); await refresh(); return performance.now() - begun; })()"
)


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicas", default="50,5000,20000", help="with commas")
    arguments = parser.parse_args()
    print(f"{'replicas':>9}{'reading ms':>12}{'page ms':>9}{'page kB':>9}{'alone ms':>10}{'refresh ms':>12}")
    program = find_chromium()
    with browser(program) if program else nullcontext() as chromium:
        for count in map(int, arguments.replicas.split(",")):
            with tempfile.TemporaryDirectory(prefix="vanadium-bench-") as directory:
                print(_measured(Path(directory), count, chromium))


def _measured(directory: Path, count: int, chromium: Chromium | None) -> str:
    with (
        running_cluster_agent(directory, rate_per_administrator=1000) as agent,
        _source(agent, directory) as source,
    ):
        _fill(agent, count)
        reading = _milliseconds(lambda: source.read())
        assert source.reading.error is None, source.reading.error
        now = datetime.now(UTC)
        state = State("bench", source.reading)
        assert source.reading.value is not None
        assert len(source.reading.value.replicas) == count
        size = len(page(state, Place(), now).encode())
        whole = _milliseconds(lambda: page(state, Place(), now))
        alone = _milliseconds(lambda: page(state, Place(application="acme:prod:team-0:web"), now))
        refreshed = "-"
        if chromium is not None:
            with served(lambda: state) as url:
                tab = chromium.page()
                tab.open(url)
                refreshed = f"{statistics.median(tab.value(_REFRESH) for _ in range(_ROUNDS)):.0f}"
    return f"{count:>9}{reading:>12.0f}{whole:>9.1f}{size / 1000:>9.0f}{alone:>10.1f}{refreshed:>12}"


def _milliseconds(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


@contextmanager
def _source(agent: RunningClusterAgent, directory: Path) -> Iterator[Source[AgentFacts, ClusterAgent]]:
    held = DirectoryPrincipal.create(directory / "alice")
    blessing = agent.control_plane.bless(
        held.public_key, "administrator", now=datetime.now(UTC), lifetime=timedelta(hours=1)
    )
    held.set_blessings(held.blessings.with_default(blessing))
    options = argparse.Namespace(
        cluster_agent=agent.url, ca=directory / "serving" / "ca.crt", server_name=None, config=None
    )
    source = agent_source(options, held)
    try:
        yield source
    finally:
        source.close()


def _fill(agent: RunningClusterAgent, count: int) -> None:
    now = int(datetime.now(UTC).timestamp())
    secrets = [
        {
            "id": f"secret-{number}",
            "namespace": f"team-{number}",
            "service_account": "web",
            "certificate_fingerprint": f"credential-{number}",
            "created_at": now,
            "not_after": now + 86_400,
        }
        for number in range(-(-count // _OF_EACH))
    ]
    issuances = [
        {
            "certificate_fingerprint": f"certificate-{number}",
            "secret_id": f"secret-{number // _OF_EACH}",
            "pod_name": f"web-7d9f6c8b5-{number:05x}",
            "pod_uid": f"uid-{number}",
            "public_key_fingerprint": f"key-{number}",
            "not_after": now + 1800 + number % 1800,
            "serial": f"{number:x}",
            "issuer": f"acme:prod:team-{number // _OF_EACH}:web",
            "issuing_key": "key",
        }
        for number in range(count)
    ]
    with create_engine(f"sqlite:///{agent.data_directory / 'cluster-agent.sqlite3'}").begin() as connection:
        connection.execute(insert(tables.secrets), secrets)
        connection.execute(insert(tables.issuances), issuances)


if __name__ == "__main__":
    main()
