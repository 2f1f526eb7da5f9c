"""StreamSecrets and FetchSecrets: the secrets that a client names, and on a stream each change of them.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol (state of the world)

Envoy sends no security header, which the Workload API demands of its clients; SPIRE's agent asks it for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from pod_agent.envoy.secrets import TYPE_URL, Secrets
from pod_agent.errors import GrpcError
from pod_agent.grpc.call import Call, Method, framed, unary
from pod_agent.grpc.messages import bytes_field, read, text_field
from pod_agent.grpc.status import Status
from pod_agent.identity import CurrentIdentity, Identity
from service.bounded_log import BoundedLog
from service.log import get_logger

MOST_NAMES = 100
_LONGEST_SHOWN = 300
_SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService"

_log = BoundedLog(get_logger("pod_agent"))


@dataclass(frozen=True)
class Request:
    """A DiscoveryRequest: the names that the client wants from now on; `nonce` that of the answer that it has
    taken, or, with a `complaint`, has rejected."""

    names: frozenset[str]
    nonce: str
    complaint: str | None

    @classmethod
    def parse(cls, message: bytes) -> Request:
        """Raises GrpcError."""
        fields = read(message, 3, 4, 5, 6)
        # An empty name is none, as SPIRE has it.
        names = frozenset(fields.texts(3)) - {""}
        if len(names) > MOST_NAMES:
            raise GrpcError(Status.INVALID_ARGUMENT, f"more than {MOST_NAMES} names are asked for")
        if fields.text(4) not in ("", TYPE_URL):
            raise GrpcError(Status.INVALID_ARGUMENT, f"only resources of {TYPE_URL} are served")
        details = fields.contents(6)
        return cls(names, fields.text(5), read(details[-1], 2).text(2) if details else None)


class SecretDiscovery:
    """Serves the current identity to Envoy; `rejected` is called for each answer that an Envoy rejects."""

    def __init__(self, current: CurrentIdentity, rejected: Callable[[], None]) -> None:
        self._current = current
        self._rejected = rejected
        self._secrets: Secrets | None = None
        self._version = 0

    def methods(self) -> dict[str, Method]:
        return {
            f"{_SERVICE}/StreamSecrets": self._stream,
            f"{_SERVICE}/FetchSecrets": unary(self._fetch),
        }

    async def _fetch(self, message: bytes, _metadata: Mapping[str, str]) -> bytes:
        request = Request.parse(message)
        identity = self._current.value
        if identity is None:
            raise GrpcError(Status.PERMISSION_DENIED, "no identity issued yet")
        return self._response(self._resources(request.names, identity), "")

    async def _stream(self, call: Call) -> None:
        """Waits for the first identity: Envoy would try again after a refusal only in many seconds."""
        identities = self._identities()
        asked = asyncio.ensure_future(call.message())
        changed = asyncio.ensure_future(anext(identities, None))
        stream = _Stream(self._rejected)
        try:
            while True:
                await asyncio.wait({asked, changed}, return_when=asyncio.FIRST_COMPLETED)
                if asked.done():
                    if (message := asked.result()) is None:
                        return
                    stream.take(Request.parse(message))
                    asked = asyncio.ensure_future(call.message())
                if changed.done():
                    stream.identity = changed.result()
                    if stream.identity is None:
                        break
                    changed = asyncio.ensure_future(anext(identities, None))
                if stream.names is not None and stream.identity is not None:
                    resources = self._resources(stream.names, stream.identity)
                    if resources != stream.has:
                        await call.send(framed(self._response(resources, stream.next_nonce())))
                        stream.has = resources
        finally:
            for waiting in (asked, changed):
                waiting.cancel()
            await asyncio.gather(asked, changed, return_exceptions=True)
        if self._current.value is None:
            # Envoy keeps what it has, and asks again; it gets the next identity.
            raise GrpcError(Status.PERMISSION_DENIED, "the identity has expired")

    async def _identities(self) -> AsyncIterator[Identity]:
        """The current identity, and each that differs from the one before in itself or in its roots."""
        seen = await self._current.other_than(None)
        yield seen
        async for identity, _lists in self._current.revisions():
            if identity is not seen:
                seen = identity
                yield identity

    def _resources(self, names: frozenset[str], identity: Identity) -> bytes:
        """The resources of a DiscoveryResponse, in an order that is always the same. Raises GrpcError for a
        name that is none of a secret."""
        if self._secrets is None or self._secrets.identity is not identity:
            self._secrets = Secrets(identity)
            self._version += 1
        secrets = self._secrets
        found = {name: secrets.find(name) for name in sorted(names) or secrets.names}
        if unknown := [name for name, secret in found.items() if secret is None]:
            raise GrpcError(
                Status.INVALID_ARGUMENT,
                f"this replica has no secret {', '.join(map(repr, unknown))[:_LONGEST_SHOWN]}; it is "
                f"{identity.name.spiffe_id}, and has {', '.join(secrets.names[1:])}, default, ROOTCA, ALL",
            )
        return b"".join(bytes_field(2, secret) for secret in found.values() if secret is not None)

    def _response(self, resources: bytes, nonce: str) -> bytes:
        """A DiscoveryResponse."""
        version = text_field(1, str(self._version))
        return version + resources + text_field(4, TYPE_URL) + text_field(5, nonce)


class _Stream:
    """What a stream's client wants: `names` of the `identity`; None is not known yet. `has` are the resources
    that it was sent last, also when it rejected them: they are not sent again."""

    def __init__(self, rejected: Callable[[], None]) -> None:
        self.identity: Identity | None = None
        self.names: frozenset[str] | None = None
        self.has: bytes | None = None
        self._rejected = rejected
        self._nonce = 0

    def take(self, request: Request) -> None:
        """Takes the client's next request, unless it was sent before it had our last answer."""
        if self._nonce and request.nonce != str(self._nonce):
            return
        if request.complaint is not None:
            self._rejected()
            _log.warning(
                "envoy rejected secrets",
                names=", ".join(sorted(request.names))[:_LONGEST_SHOWN],
                error=request.complaint[:_LONGEST_SHOWN],
            )
        self.names = request.names

    def next_nonce(self) -> str:
        self._nonce += 1
        return str(self._nonce)
