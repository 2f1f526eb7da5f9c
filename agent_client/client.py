"""A typed client of the agent protocol, for the application's side of the socket.

agent = AgentClient()                 # the socket in V23_AGENT_PATH
agent.names()                         # [Name('acme:prod:shop:web:web-1')]
agent.sign(b"message").signature
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from blessings import Blessing, Caveat, Name, PublicKey, RevocationLists, Roots
from blessings.caveats.kinds import encode as encode_caveats

VARIABLE = "V23_AGENT_PATH"
_TIMEOUT_SECONDS = 10.0
# The pod agent sends a line at least every 10 s.
_SILENT_SECONDS = 30.0


class AgentError(Exception):
    """The pod agent is not there, or has no blessing yet. `reason` is one stable word for the cause."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class ServedBlessing:
    """The blessing served now. `version` counts the rotations since the pod agent started."""

    version: int
    blessing: Blessing
    not_after: datetime
    renew_at: datetime
    public_key: str


@dataclass(frozen=True)
class Signature:
    """A signature by the pod's key; `blessings.verify_signature` checks it with the key of `fingerprint`."""

    signature: bytes
    algorithm: str
    public_key: str


class AgentClient:
    """Calls the pod agent. `path` is its agent.sock; the default is the value of V23_AGENT_PATH."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Raises AgentError when there is neither `path` nor the variable."""
        chosen = path or os.environ.get(VARIABLE)
        if not chosen:
            raise AgentError("NoSocket", f"no pod agent: {VARIABLE} is not set; is the Pod injected?")
        transport = httpx.HTTPTransport(uds=os.fspath(chosen))
        self._client = httpx.Client(transport=transport, base_url="http://agent", timeout=_TIMEOUT_SECONDS)

    def names(self) -> list[Name]:
        """The names that the pod has now. Raises AgentError."""
        return [Name.parse(name) for name in self._call("GET", "/v1/names")["names"]]

    def chain(self) -> ServedBlessing:
        """The blessing that is served now. Raises AgentError."""
        return _served(self._call("GET", "/v1/chain"))

    def roots(self) -> Roots:
        """The roots for verifying peers. Raises AgentError."""
        return Roots.from_json(self._call("GET", "/v1/roots")["roots"])

    def revocation_lists(self, application: Name) -> RevocationLists:
        """The revocation lists of that application; none when it has none. For verifying peers, `PeerLists`
        keeps them. Raises AgentError, InvalidRevocationList."""
        answer = self.revocation_lists_since(application, None)
        return RevocationLists() if answer is None else answer[1]

    def revocation_lists_since(
        self, application: Name, version: str | None
    ) -> tuple[str, RevocationLists] | None:
        """The application's lists and their version; None when that is `version`. Raises AgentError,
        InvalidRevocationList."""
        headers = {"If-None-Match": version} if version else {}
        response = self._request("GET", f"/v1/crl/{application}", headers=headers)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return None
        if response.status_code == httpx.codes.NOT_FOUND:
            return "", RevocationLists()
        if not response.is_success:
            self._refuse(response)
        return response.headers.get("ETag", ""), RevocationLists.from_pem(response.content)

    def sign(self, message: bytes) -> Signature:
        """Signs with the pod's key, which stays in the pod agent. Raises AgentError."""
        answer = self._call("POST", "/v1/sign", {"message": base64.b64encode(message).decode()})
        signature = base64.b64decode(answer["signature"])
        return Signature(signature, answer["algorithm"], answer["publicKey"])

    def bless(
        self, public_key: PublicKey, extension: str, *, lifetime: timedelta, caveats: Sequence[Caveat] = ()
    ) -> Blessing:
        """Makes a delegate: another key with the pod's name followed by `extension`. Raises AgentError.

        `lifetime` is in whole seconds, starts now by the agent's clock, and never outlives the pod's
        blessing.
        """
        answer = self._call(
            "POST",
            "/v1/bless",
            {
                "publicKey": public_key.public_bytes(
                    Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
                ).decode(),
                "extension": extension,
                "lifetimeSeconds": int(lifetime.total_seconds()),
                "caveats": encode_caveats(caveats),
            },
        )
        return Blessing.from_pem(answer["chain"])

    def watch(self, after: int = 0) -> Iterator[ServedBlessing]:
        """The current blessing, unless its version is `after` or lower, then each later one. Raises
        AgentError.

        Versions start again from 1 when the pod agent restarts: when this ends, watch again without `after`.
        A pod agent that sends nothing for half a minute counts as gone: AgentError.
        """
        timeout = httpx.Timeout(_TIMEOUT_SECONDS, read=_SILENT_SECONDS)
        parameters: dict[str, str | int] = {"after": after, "heartbeat": "true"}
        try:
            with self._client.stream("GET", "/v1/watch", params=parameters, timeout=timeout) as response:
                for line in response.iter_lines():
                    if line:
                        yield _served(json.loads(line))
        except httpx.HTTPError as error:
            raise AgentError("Unreachable", f"the pod agent's stream ended: {error}") from error

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        response = self._request(method, path, json=body)
        return _document(response) if response.is_success else self._refuse(response)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise AgentError("Unreachable", f"no answer from the pod agent: {error}") from error

    def _refuse(self, response: httpx.Response) -> NoReturn:
        refusal = _document(response).get("error") or {}
        raise AgentError(str(refusal.get("reason")), str(refusal.get("message")))


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = response.json()
    except ValueError as error:
        raise AgentError("Unreachable", f"no answer from the pod agent: {error}") from error
    return answer


def _served(answer: dict[str, Any]) -> ServedBlessing:
    return ServedBlessing(
        version=answer["version"],
        blessing=Blessing.from_pem(answer["chain"]),
        not_after=datetime.fromisoformat(answer["notAfter"]),
        renew_at=datetime.fromisoformat(answer["renewAt"]),
        public_key=answer["publicKey"],
    )
