"""The revocation lists of peers for a program without a pod agent: from the cluster agent, or from a file.

policy = Policy(revocation=PeerLists(PublishedLists("https://cluster-agent.vanadium-system.svc:8193"),
                                     ask_every_seconds=15))
policy = Policy(revocation=ListFile(Path("/lists/web.crl")))
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from agent_client import messages
from agent_client.messages import AgentError
from agent_client.peer_lists import PeerLists, newest_signed
from agent_client.process_lock import ProcessLock
from blessings import (
    InvalidRevocationList,
    Name,
    PublicKey,
    RevocationList,
    RevocationLists,
    RevocationSource,
)
from blessings.keys import encoded

URL_VARIABLE = "VANADIUM_REVOCATION_URL"
ASK_EVERY_SECONDS = 15.0
MOST_LISTS = 64
MOST_BYTES = 32 << 20
MOST_INDEX_BYTES = 1 << 20
_TIMEOUT_SECONDS = 10.0


class PublishedLists:
    """The cluster agent's lists, by its routes that need no client certificate. Each call has a connection of
    its own.

    The server's certificate is not verified, because each list is signed by its issuer. So an answer may be
    an attacker's: its lists are bounded in number, in bytes together, and in the time for all of them.
    """

    def __init__(self, url: str, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        """`url` is that of the cluster agent, `https://` and its host and port. `timeout_seconds` is for an
        application's lists together, from the connection to the last byte."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._url = url
        self._seconds = timeout_seconds

    def revocation_lists_since(
        self, application: Name, version: str | None
    ) -> tuple[str, RevocationLists] | None:
        """The application's lists and their version; None when that is `version`. Raises AgentError,
        InvalidRevocationList."""
        # The timeout of a socket is for one read, and an attacker may send a byte at a time; that of a task
        # is for all of it.
        if _has_running_loop():
            with ThreadPoolExecutor(1) as thread:
                found = thread.submit(asyncio.run, self._fetched(application, version)).result()
        else:  # no thread of an executor: the process would wait for it when it ends
            found = asyncio.run(self._fetched(application, version))
        return None if found is None else (found[0], RevocationLists.of(found[1]))

    async def _fetched(self, application: Name, version: str | None) -> tuple[str, list[bytes]] | None:
        try:
            async with asyncio.timeout(self._seconds), self._client() as client:
                return await _fetch(client, application, version)
        except TimeoutError as error:
            late = AgentError("Unreachable", f"no lists from the cluster agent within {self._seconds:g} s")
            raise late from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise messages.unreachable(error, "no answer from the cluster agent") from error
        except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise messages.unreachable(error, "no lists from the cluster agent") from error

    def _client(self) -> httpx.AsyncClient:
        # What arrives is counted as it arrives: a few bytes that are compressed may stand for very many.
        return httpx.AsyncClient(
            base_url=self._url,
            verify=self._context,
            timeout=self._seconds,
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
        )


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _fetch(
    client: httpx.AsyncClient, application: Name, version: str | None
) -> tuple[str, list[bytes]] | None:
    index = await _get(client, "/v1/crl", {"issuer": str(application)}, MOST_INDEX_BYTES)
    lists = json.loads(index)["lists"]
    if len(lists) > MOST_LISTS:
        raise AgentError("TooMany", f"{len(lists)} lists of {application}, more than {MOST_LISTS}")
    numbers = sorted((str(one["key"]), int(one["number"])) for one in lists)
    newest = ",".join(f"{key}={number}" for key, number in numbers)
    if newest == version:
        return None
    path, left = f"/v1/crl/{quote(str(application), safe=':')}", MOST_BYTES
    found = []
    for key, _ in numbers:
        found.append(await _get(client, path, {"key": key}, left))
        left -= len(found[-1])
    return newest, found


async def _get(client: httpx.AsyncClient, path: str, query: Mapping[str, str], most_bytes: int) -> bytes:
    content = bytearray()
    async with client.stream("GET", path, params=dict(query)) as response:
        if not response.is_success:
            raise AgentError("Unreachable", f"GET {path}: HTTP {response.status_code}")
        async for part in response.aiter_raw():
            content += part
            if len(content) > most_bytes:
                raise AgentError("TooLong", f"GET {path}: more than the {most_bytes} bytes that are left")
    return bytes(content)


class ListFile:
    """The lists in a file, in PEM or one in DER, which another program replaces: the kubelet, in the volume
    of a ConfigMap, or a container that calls the cluster agent. Implements `blessings.RevocationSource`, for
    use by several threads.

    The program that keeps the file need not verify anything. A list holds until it ends, or until the file
    has one with the same or a higher number that its issuer signed. A file that cannot be read, or of more
    than MOST_BYTES, changes nothing.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError, InvalidRevocationList."""
        self._path = path
        self._lock = ProcessLock()
        self._version: Any = None
        self._lists = RevocationLists()
        self._held: dict[tuple[bytes, bytes], RevocationLists] = {}
        self._look()

    def by_issuer(
        self, issuer: bytes, name: Name | None = None, key: PublicKey | None = None
    ) -> Sequence[RevocationList]:
        if key is None:
            return ()
        place = issuer, encoded(key)
        with self._lock:
            with suppress(OSError, InvalidRevocationList):
                self._look()
            sent = RevocationLists(tuple(self._lists.by_issuer(issuer)))
            held = newest_signed(self._held.get(place, RevocationLists()), sent, key)
            if held.entries:
                self._held[place] = held
            return held.entries

    def _look(self) -> None:
        status = self._path.stat()
        version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if version == self._version:
            return
        with self._path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        self._version = version  # also of one that cannot be used: it is not read again for each peer
        if len(content) > MOST_BYTES:
            raise InvalidRevocationList(f"{self._path} has more than {MOST_BYTES} bytes")
        is_pem = content.lstrip().startswith(b"-----BEGIN")
        self._lists = RevocationLists.from_pem(content) if is_pem else RevocationLists.of([content])


def lists_of_environment(environment: Mapping[str, str] = os.environ) -> RevocationSource:
    """The lists of the cluster agent that VANADIUM_REVOCATION_URL names, or none."""
    url = environment.get(URL_VARIABLE)
    if not url:
        return RevocationLists()
    return PeerLists(PublishedLists(url), ask_every_seconds=ASK_EVERY_SECONDS)
