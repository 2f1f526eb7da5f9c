"""The document with an issuer's key set, read from a file or an HTTPS address."""

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

from cluster_agent.kubernetes.proxies import proxy_for


class Unreadable(Exception):
    """The document could not be read."""


@asynccontextmanager
async def reading(location: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A function that reads the document at `location` anew at each call, and raises Unreadable."""
    if not location.startswith("https://"):
        yield partial(read_file, location)
        return
    connector = aiohttp.TCPConnector(ssl=_public_trust())
    async with aiohttp.ClientSession(connector=connector, proxy=proxy_for(location)) as session:
        yield partial(_read_address, location, session)


async def read_file(location: str) -> str:
    """The document in a file. Raises Unreadable."""
    try:
        return await asyncio.to_thread(Path(location).read_text)
    except (OSError, ValueError) as error:
        raise Unreadable(str(error)) from error


async def _read_address(location: str, session: aiohttp.ClientSession) -> str:
    try:
        # A redirect could lead to an address without TLS, where an attacker could answer.
        async with session.get(location, allow_redirects=False) as response:
            if response.status != 200:
                raise Unreadable(f"HTTP {response.status}")
            return await response.text()
    except (aiohttp.ClientError, OSError, ValueError, LookupError) as error:
        # The error's text is left out, because it may contain the password of a proxy.
        raise Unreadable(type(error).__name__) from None


def _public_trust() -> ssl.SSLContext:
    """Trust in the authorities that OpenSSL's variables name, or else in the public ones: an image may have
    none.

    https://docs.openssl.org/3.0/man7/openssl-env/
    """
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not directory:
        file = certifi.where()
    return ssl.create_default_context(cafile=file or None, capath=directory or None)
