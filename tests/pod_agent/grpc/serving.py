"""A gRPC server with a method of each kind, on a Unix socket of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pod_agent.errors import GrpcError
from pod_agent.grpc.call import Call, framed, unary
from pod_agent.grpc.server import GrpcServer
from pod_agent.grpc.status import Status
from pod_agent.listener import Served
from tests.pod_agent.running import short_directory

MESSAGE_OF_FAILURE = "no Größe: 100 % \N{SNOWMAN}\n"


@dataclass
class Serving:
    path: Path
    server: GrpcServer
    connections: list[Served] = field(default_factory=list)

    @property
    def target(self) -> str:
        return f"unix:{self.path}"


async def _echo(message: bytes, metadata: Mapping[str, str]) -> bytes:
    return metadata.get("prefix", "").encode() + message


async def _count(call: Call) -> None:
    for number in range(int(await call.message() or b"0")):
        await call.send(framed(str(number).encode()))


async def _chat(call: Call) -> None:
    while (message := await call.message()) is not None:
        await call.send(framed(message * 2))
    await call.send(framed(b"bye"))


async def _fail(call: Call) -> None:
    if await call.message():
        await call.send(framed(b"one answer"))
    raise GrpcError(Status.NOT_FOUND, MESSAGE_OF_FAILURE)


async def _break(_call: Call) -> None:
    raise ZeroDivisionError("a secret of ours")


async def _wait(call: Call) -> None:
    await call.message()
    await asyncio.Event().wait()


METHODS = {
    "/test.Calls/Echo": unary(_echo),
    "/test.Calls/Count": _count,
    "/test.Calls/Chat": _chat,
    "/test.Calls/Fail": _fail,
    "/test.Calls/Break": _break,
    "/test.Calls/Wait": _wait,
}


@asynccontextmanager
async def serving() -> AsyncIterator[Serving]:
    with short_directory() as directory:
        running = Serving(directory / "grpc.sock", GrpcServer(METHODS))

        def connection() -> Served:
            running.connections.append(running.server.connection())
            return running.connections[-1]

        listening = await asyncio.get_running_loop().create_unix_server(connection, running.path)
        try:
            yield running
        finally:
            listening.close()
            for one in running.connections:
                one.end()
