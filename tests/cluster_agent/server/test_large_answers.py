"""One answer that is larger than any buffer, as a long revocation list is, and who reads it slowly."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path

import uvicorn
import uvloop
from starlette.responses import Response

from blessings import Roots
from cluster_agent.server.connection_limits import ConnectionLimits
from cluster_agent.server.servers import AgentServer
from service.supervisor import Supervisor
from tests.cluster_agents import write_serving_files
from tests.waiting import PATIENCE_SECONDS

SIZE = 8_000_000
# Three times what both deadlines at the end of an answer allow: of an idle connection, and of TLS.
SLOWLY_SECONDS = 20
DEADLINE_SECONDS = 4


def test_who_reads_a_large_answer_slowly_gets_all_of_it(tmp_path: Path) -> None:
    roots = Roots.of(write_serving_files(tmp_path).certificate)
    assert uvloop.run(_serve_and_read(tmp_path, roots)) > SIZE


async def _serve_and_read(directory: Path, roots: Roots) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    limits = ConnectionLimits(
        20,
        most_from_address=8,
        handshake_seconds=DEADLINE_SECONDS,
        request_seconds=DEADLINE_SECONDS,
        nameless_share=1,
    )
    config = uvicorn.Config(
        Response(b"x" * SIZE), lifespan="off", log_config=None, timeout_keep_alive=DEADLINE_SECONDS
    )
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    server = AgentServer(
        config,
        context,
        limits,
        lambda *_: None,
        lambda _address, _why: None,
        name="connections",
        listening=listener,
    )
    async with Supervisor([server.acceptor.task]).running():
        serving = asyncio.create_task(server.serve())
        received = await asyncio.to_thread(_read_slowly, address, roots)
        server.should_exit = True
        await serving
    return received


def _read_slowly(address: tuple[str, int], roots: Roots) -> int:
    context = ssl.create_default_context(cadata=roots.to_pem())
    with socket.socket() as bare:
        bare.settimeout(PATIENCE_SECONDS)
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        bare.connect(address)
        with context.wrap_socket(bare, server_hostname="localhost") as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            slowly_until = time.monotonic() + SLOWLY_SECONDS
            received = 0
            while received <= SIZE and (part := connection.recv(8192)):
                received += len(part)
                if time.monotonic() < slowly_until:
                    time.sleep(0.1)
            return received
