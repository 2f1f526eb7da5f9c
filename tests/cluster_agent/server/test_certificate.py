"""The serving certificate is replaced while connections are open."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from blessings import Authority, Roots
from cluster_agent.errors import DataDirectoryError
from cluster_agent.server.certificate import Serving
from tests.cluster_agents import write_serving_files

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echoing(serving: Serving) -> AsyncIterator[int]:
    """A server with that TLS context that answers each line with itself; its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connect(port: int, roots: Roots) -> Stream:
    context = ssl.create_default_context(cadata=roots.to_pem())
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")


async def said(stream: Stream) -> bytes:
    stream[1].write(b"hello\n")
    return await stream[0].readline()


async def greeted(port: int, authority: Authority) -> None:
    stream = await connect(port, Roots.of(authority.certificate))
    assert await said(stream) == b"hello\n"
    stream[1].close()
    await stream[1].wait_closed()


def certificate(stream: Stream) -> bytes:
    der: bytes = stream[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
    return der


async def test_new_connections_get_the_new_certificate_and_open_ones_stay(tmp_path: Path) -> None:
    first = write_serving_files(tmp_path)
    serving = Serving(tmp_path, Roots(()))
    async with echoing(serving) as port:
        before = await connect(port, Roots.of(first.certificate))
        assert await said(before) == b"hello\n"
        second = write_serving_files(tmp_path)
        assert serving.reload()
        assert not serving.reload(), "nothing changed since"
        after = await connect(port, Roots.of(second.certificate))
        assert await said(before) == b"hello\n"
        assert await said(after) == b"hello\n"
        assert certificate(before) != certificate(after)
        for _, writer in (before, after):
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("torn", ["tls.crt", "tls.key"])
async def test_attack_a_torn_read_leaves_what_is_in_use(tmp_path: Path, torn: str) -> None:
    """OpenSSL forgets a key that does not belong to a new certificate: no handshake would succeed."""
    authority = write_serving_files(tmp_path)
    serving = Serving(tmp_path, Roots(()))
    other = tmp_path / "other"
    write_serving_files(other)
    (tmp_path / torn).write_bytes((other / torn).read_bytes())
    with pytest.raises(DataDirectoryError, match="cannot serve with the files"):
        serving.reload()
    async with echoing(serving) as port:
        await greeted(port, authority)
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (tmp_path / name).write_bytes((other / name).read_bytes())
        assert serving.reload(), "the other half came"


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"", b"-----BEGIN CERTIFICATE-----\n" + b"A" * 10_000_000], ids=len
)
async def test_attack_hostile_bytes_leave_what_is_in_use(tmp_path: Path, name: str, content: bytes) -> None:
    authority = write_serving_files(tmp_path)
    serving = Serving(tmp_path, Roots(()))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataDirectoryError, match="cannot serve with the files"):
        serving.reload()
    (tmp_path / name).unlink()
    with pytest.raises(DataDirectoryError, match=rf"{name} is missing"):
        serving.reload()
    async with echoing(serving) as port:
        await greeted(port, authority)
