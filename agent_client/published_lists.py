"""The revocation lists of peers for a program without a pod agent: from the cluster agent, or from a file.

policy = Policy(revocation=PeerLists(PublishedLists("https://cluster-agent.vanadium-system.svc:8193"),
                                     ask_every_seconds=15))
policy = Policy(revocation=ListFile(Path("/lists/web.crl")))
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from agent_client import messages
from agent_client.messages import AgentError
from agent_client.peer_lists import PeerLists
from blessings import InvalidRevocationList, Name, RevocationList, RevocationLists, RevocationSource

URL_VARIABLE = "VANADIUM_REVOCATION_URL"
ASK_EVERY_SECONDS = 15.0
_TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 32 << 20


class PublishedLists:
    """The cluster agent's lists, by its routes that need no client certificate.

    The server's certificate is not verified, because each list is signed by its issuer. An attacker in
    between can withhold a newer list until the list at hand ends, and no more.
    """

    def __init__(self, url: str, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        """`url` is that of the cluster agent, `https://` and its host and port."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._client = httpx.Client(base_url=url, verify=context, timeout=timeout_seconds, trust_env=False)

    def revocation_lists_since(
        self, application: Name, version: str | None
    ) -> tuple[str, RevocationLists] | None:
        """The application's lists and their version; None when that is `version`. Raises AgentError,
        InvalidRevocationList."""
        path = f"/v1/crl/{quote(str(application), safe=':')}"
        try:
            index = self._get("/v1/crl", {"issuer": str(application)})
            lists = httpx.Response(200, content=index).json()["lists"]
            numbers = sorted((str(one["key"]), int(one["number"])) for one in lists)
        except (ValueError, KeyError, TypeError) as error:
            raise messages.unreachable(error, "no lists from the cluster agent") from error
        newest = ",".join(f"{key}={number}" for key, number in numbers)
        if newest == version:
            return None
        return newest, RevocationLists.of([self._get(path, {"key": key}) for key, _ in numbers])

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str, query: Mapping[str, str]) -> bytes:
        content = b""
        try:
            with self._client.stream("GET", path, params=dict(query)) as response:
                for part in response.iter_bytes():
                    content += part
                    if len(content) > _MOST_BYTES:
                        raise AgentError("TooLong", f"GET {path}: more than {_MOST_BYTES} bytes")
        except httpx.HTTPError as error:
            raise messages.unreachable(error, "no answer from the cluster agent") from error
        if not response.is_success:
            raise AgentError("Unreachable", f"GET {path}: HTTP {response.status_code}")
        return content


class ListFile:
    """The lists in a file, in PEM or one in DER, which another program replaces: the kubelet, in the volume
    of a ConfigMap, or a container that calls the cluster agent. Implements `blessings.RevocationSource`, for
    use by several threads.

    A file that cannot be read, while an earlier one could, changes nothing: its lists hold until they end.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError, InvalidRevocationList."""
        self._path = path
        self._lock = threading.Lock()
        self._version: Any = None
        self._lists = RevocationLists()
        self._look()

    def by_issuer(self, issuer: bytes, name: Name | None = None) -> Sequence[RevocationList]:
        with self._lock:
            with suppress(OSError, InvalidRevocationList):
                self._look()
            return self._lists.by_issuer(issuer)

    def _look(self) -> None:
        status = self._path.stat()
        version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if version == self._version:
            return
        content = self._path.read_bytes()
        is_pem = content.lstrip().startswith(b"-----BEGIN")
        self._lists = RevocationLists.from_pem(content) if is_pem else RevocationLists.of([content])
        self._version = version


def lists_of_environment(
    environment: Mapping[str, str] = os.environ,
) -> tuple[RevocationSource, Callable[[], None]]:
    """The lists of the cluster agent that VANADIUM_REVOCATION_URL names, or none; and what frees them."""
    url = environment.get(URL_VARIABLE)
    if not url:
        return RevocationLists(), lambda: None
    lists = PublishedLists(url)
    return PeerLists(lists, ask_every_seconds=ASK_EVERY_SECONDS), lists.close
