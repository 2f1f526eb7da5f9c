"""Where an issuer's key set is read from: a file, or an HTTPS address."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import certifi


@asynccontextmanager
async def reading(location: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """What reads the document at `location` anew each time; it raises ClientError, OSError, ValueError."""
    if not location.startswith("https://"):
        yield partial(read_file, location)
        return
    connector = aiohttp.TCPConnector(ssl=_public_trust())
    # Issuers that are public may be behind the proxy that the environment names.
    async with aiohttp.ClientSession(connector=connector, trust_env=True) as session:
        yield partial(_read_address, location, session)


async def read_file(location: str) -> str:
    """The document in a file. Raises OSError, ValueError."""
    return await asyncio.to_thread(Path(location).read_text)


async def _read_address(location: str, session: aiohttp.ClientSession) -> str:
    async with session.get(location, raise_for_status=True) as response:
        return await response.text()


def _public_trust() -> ssl.SSLContext:
    """What OpenSSL's variables name, or the public authorities: an image may have none of its own.

    https://docs.openssl.org/3.0/man7/openssl-env/
    """
    named = "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ
    return ssl.create_default_context(cafile=None if named else certifi.where())
