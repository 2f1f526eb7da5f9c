"""One SeekBlessings: a new key, a call to the cluster agent, and an answer that is checked before it is
believed."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
from cryptography.hazmat.primitives.serialization import Encoding

from blessings import (
    Blessing,
    BlessingsError,
    Name,
    Principal,
    Roots,
    VerificationError,
    fingerprint,
    verify_blessing,
)
from blessings.tls import client_context
from pod_agent.credential import Credential, parse_credential
from pod_agent.errors import NotMounted, Refused, Unreachable, Untrustworthy
from pod_agent.identity import Identity
from pod_agent.settings import Settings
from pod_agent.watcher import News, parse_news

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_LONGEST_ANSWER_BYTES = 1 << 20
_LONGEST_NEWS_BYTES = 16 << 20
# The handshake was done, as we saw it, and no answer came.
_ENDED = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


@dataclass(frozen=True)
class Answer:
    """A blessing for `principal`, verified under `roots`."""

    principal: Principal
    blessing: Blessing
    name: Name
    roots: Roots


class Seeker(Protocol):
    """Whoever can get a blessing."""

    async def seek(self, current: Identity | None) -> Answer:
        """A new one: `current` renewed, or, for None, from the credential. Raises SeekError."""


class ClusterAgentSeeker:
    """Seeks from the cluster agent that the settings name."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now

    async def seek(self, current: Identity | None) -> Answer:
        # Both files are read each time: a kubelet renews them in place.
        credential = parse_credential(await asyncio.to_thread(_read, self._settings.credential_file))
        token = (await asyncio.to_thread(_read, self._settings.token_file)).strip()
        principal = Principal.create()
        body: dict[str, Any] = {
            "csr": principal.csr().public_bytes(Encoding.PEM).decode(),
            "token": token,
        }
        if self._settings.ttl_seconds is not None:
            body["ttlSeconds"] = self._settings.ttl_seconds
        document = await self._call(_context(credential, current), "/v1/seek-blessings", body)
        return believe(document, principal, credential.application, current, self._now())

    async def news(self, current: Identity, version: int, roots_version: int) -> News:
        credential = parse_credential(await asyncio.to_thread(_read, self._settings.credential_file))
        body = {"have": {"crl": version, "roots": roots_version}}
        document = await self._call(_context(credential, current), "/v1/watch", body, _LONGEST_NEWS_BYTES)
        return parse_news(document, version)

    async def _call(
        self,
        context: ssl.SSLContext,
        path: str,
        body: Mapping[str, Any],
        longest: int = _LONGEST_ANSWER_BYTES,
    ) -> Mapping[str, Any]:
        url = self._settings.cluster_agent_url
        extensions = {"sni_hostname": self._settings.cluster_agent_server_name}
        # We record no spans (00): by it, the call of a log line is found among the cluster agent's.
        trace = secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"}
        try:
            async with (
                # No proxy from the environment: an application's proxy settings are not ours.
                httpx.AsyncClient(verify=context, timeout=_TIMEOUT, trust_env=False) as client,
                asyncio.timeout(_TIMEOUT.read),
                client.stream(
                    "POST", f"{url}{path}", json=body, headers=headers, extensions=extensions
                ) as response,
            ):
                document = _parse(await _read_limited(response, longest))
        except (httpx.HTTPError, ssl.SSLError, TimeoutError) as error:
            reason = "ConnectionEnded" if isinstance(error, _ENDED) else "Unreachable"
            raise Unreachable(reason, f"{url}: {error or type(error).__name__} (trace {trace})") from error
        if response.is_success:
            return document
        raise _refusal(response, document, trace)


def believe(
    document: Mapping[str, Any],
    principal: Principal,
    application: Name,
    current: Identity | None,
    now: datetime,
) -> Answer:
    """The answer in `document`, when it is what was asked for.

    Raises Untrustworthy for a chain that does not hold, is for another key, names something else than a pod
    of `application`, or, at a renewal, another pod than before.
    """
    try:
        blessing = Blessing.from_pem(document["chain"])
        roots = Roots.from_json(document["roots"])
        name = verify_blessing(blessing, roots, now=now)
        ours = fingerprint(blessing.public_key) == fingerprint(principal.public_key)
    except VerificationError as error:
        raise Untrustworthy("ChainInvalid", f"the chain does not hold: {error.reason}: {error}") from error
    except (BlessingsError, KeyError, TypeError, AttributeError) as error:
        raise Untrustworthy("AnswerMalformed", f"the answer cannot be read: {error!r}") from error
    if not blessing.is_svid:
        # It would hold for us as long as its caveats do, and be served to programs that know none.
        raise Untrustworthy("NotAnSvid", f"the chain of {name} has caveats, so it is no X.509-SVID")
    if not ours:
        raise Untrustworthy("OtherKey", "the chain is for another key than the one that was sent")
    if not name.is_extension_of(application) or len(name.components) != len(application.components) + 1:
        raise Untrustworthy("OtherName", f"{name} is no pod of {application}")
    if current is not None and name != current.name:
        raise Untrustworthy("OtherName", f"renewing {current.name} brought {name}")
    return Answer(principal, blessing, name, roots)


def _context(credential: Credential, current: Identity | None) -> ssl.SSLContext:
    who = current or credential
    context = client_context(who.principal, who.blessing, credential.cluster_agent_roots)
    context.check_hostname = True
    return context


async def _read_limited(response: httpx.Response, longest: int) -> bytes:
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > longest:
            raise Untrustworthy("AnswerTooLong", f"the answer has more than {longest} bytes")
    return bytes(content)


def _parse(content: bytes) -> Mapping[str, Any]:

    try:
        document = json.loads(content)
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {}


def _refusal(response: httpx.Response, document: Mapping[str, Any], trace: str) -> Refused | Unreachable:
    error = document.get("error")
    error = error if isinstance(error, dict) else {}
    reason = str(error.get("reason", f"Http{response.status_code}"))
    said = f"{response.status_code} {reason}: {error.get('message', '')}"
    message = f"the cluster agent answers {said} (trace {trace})"
    after = response.headers.get("retry-after", "")
    wait = float(after) if after.isdecimal() else None
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
        return Unreachable(reason, message, wait)
    return Refused(reason, message, wait)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NotMounted("NotMounted", f"cannot read {path}: {error}") from error
