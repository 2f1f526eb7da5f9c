"""`vkube dashboard`: what is there, as a page that keeps itself up to date."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

from service import logs
from service.listening import listen, stop_on_signal
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster import Cluster
from vkube.connection.cluster_agent import open_credentials
from vkube.dashboard.gate import Gate
from vkube.dashboard.server import LOOPBACK, application, serve
from vkube.dashboard.sources import agent_source, cluster_source
from vkube.dashboard.state import State
from vkube.output.lines import note, result

_TOKEN_BYTES = 32


def dashboard(parser: argparse.ArgumentParser) -> Run:
    """Serve a page for your browser, on loopback, until Ctrl-C: the roots with their applications and
    replicas, and the time that these have left; refusals, tripwires and revocations as they come; Pods that
    lack an identity; the outage budget. It only shows. Who knows the printed URL can read it."""
    parser.add_argument(
        "--port", type=shared.whole(0, 65535), default=0, help="of 127.0.0.1; by default one that is free"
    )
    parser.add_argument("--open", action="store_true", help="open the page in your browser")
    shared.cluster_agent(parser)
    return _dashboard


def _dashboard(options: argparse.Namespace) -> None:
    logs.configure("error")  # what a flood of connections causes does not belong on the user's terminal
    # A wrong --context or passphrase ends the command; a cluster that does not answer is shown in the page.
    with Cluster.of(options) as cluster:
        context = cluster.context
    agent, api_server = agent_source(options, open_credentials(options)), cluster_source(options)
    listening = listen(LOOPBACK, options.port, "--port")
    port, token = listening.getsockname()[1], secrets.token_urlsafe(_TOKEN_BYTES)
    url = f"http://{LOOPBACK}:{port}/{token}/"

    def state() -> State:
        return State(context, agent.reading, api_server.reading)

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signal(stop)
        await serve(listening, application(Gate(port, token), token, state), (agent, api_server), stop, ready)

    with opener(url) as file:

        def ready() -> None:
            result(url)
            note("Ctrl-C ends it.")
            if options.open and not webbrowser.open(file.as_uri()):
                note("no browser could be started: open the URL yourself")

        asyncio.run(run())


@contextmanager
def opener(url: str) -> Iterator[Path]:
    """A file that only this user can read, and that leads a browser to `url`. Every user of the machine can
    see the arguments of the browser's process, so the URL must not be one of them."""
    with tempfile.TemporaryDirectory(prefix="vkube-", ignore_cleanup_errors=True) as directory:
        file = Path(directory) / "dashboard.html"
        file.write_text(f'<meta http-equiv="refresh" content="0; url={escape(url)}">\n')
        yield file
