"""The JWT-SVID profile: FetchJWTSVID, FetchJWTBundles and ValidateJWTSVID (Workload API, section 6)."""

from __future__ import annotations

from typing import Any

from blessings import InvalidJwt
from blessings.jwt.svid import verified, wrong_audiences
from pod_agent.errors import GrpcError, Refused, SeekError
from pod_agent.grpc.call import Call, Method, framed
from pod_agent.grpc.messages import bytes_field, double_field, map_field, read, text_field, varint_field
from pod_agent.grpc.status import Status
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.jwt_svids import JwtSvids, TooManyAsked
from pod_agent.workload.security_header import check_security_header

_MOST_DEPTH = 16
_UNKNOWN_QUESTION = "NotServed"


class JwtProfile:
    """Serves JWT-SVIDs of the current identity."""

    def __init__(self, current: CurrentIdentity, svids: JwtSvids) -> None:
        self._current = current
        self._svids = svids

    def methods(self) -> dict[str, Method]:
        return {
            "/SpiffeWorkloadAPI/FetchJWTSVID": self._fetch,
            "/SpiffeWorkloadAPI/FetchJWTBundles": self._bundles,
            "/SpiffeWorkloadAPI/ValidateJWTSVID": self._validate,
        }

    async def _fetch(self, call: Call) -> None:
        check_security_header(call)
        fields = read(await call.message() or b"", 1, 2)
        audiences, spiffe_id = fields.texts(1), fields.text(2)
        if wrong := wrong_audiences(audiences):
            raise GrpcError(Status.INVALID_ARGUMENT, wrong)
        identity = self._identity()
        if spiffe_id not in ("", identity.name.spiffe_id):
            raise GrpcError(Status.PERMISSION_DENIED, "this workload has another SPIFFE ID")
        try:
            token = await self._svids.of(identity, audiences)
        except SeekError as error:
            raise _refusal(error) from error
        svid = text_field(1, identity.name.spiffe_id) + text_field(2, token)
        await call.send(framed(bytes_field(1, svid)))

    async def _bundles(self, call: Call) -> None:
        check_security_header(call)
        await call.message()  # it has no fields
        self._identity()
        sent = None
        async for identity, _ in self._current.revisions():
            keys = identity.bundles.jwt_keys
            # The keys of the own trust domain come within seconds of the first identity.
            if identity.name.trust_domain in keys and keys != sent:
                await call.send(framed(map_field(1, keys)))
                sent = keys
        if self._current.value is None:
            raise GrpcError(Status.PERMISSION_DENIED, "the identity has expired")

    async def _validate(self, call: Call) -> None:
        check_security_header(call)
        fields = read(await call.message() or b"", 1, 2)
        audience, token = fields.text(1), fields.text(2)
        if not audience or not token:
            raise GrpcError(Status.INVALID_ARGUMENT, "audience and svid are needed")
        bundles = self._identity().bundles
        if not bundles.jwt_keys:
            raise GrpcError(Status.UNAVAILABLE, "the keys are not known yet; try again")
        try:
            svid = verified(token, audience, bundles.verifying_keys, self._current.now())
            claims = struct_of(svid.claims)
        except InvalidJwt as error:
            raise GrpcError(Status.INVALID_ARGUMENT, str(error)) from error
        except (ValueError, OverflowError) as error:
            raise GrpcError(Status.INVALID_ARGUMENT, "the claims cannot be written as a Struct") from error
        await call.send(framed(text_field(1, svid.name.spiffe_id) + bytes_field(2, claims)))

    def _identity(self) -> Identity:
        if (identity := self._current.value) is None:
            # Workload API, section 5.2.1: the client has no identity (yet); clients try again.
            raise GrpcError(Status.PERMISSION_DENIED, "no identity issued yet")
        return identity


def _refusal(error: SeekError) -> GrpcError:
    if isinstance(error, TooManyAsked):
        return GrpcError(Status.RESOURCE_EXHAUSTED, str(error))
    if not isinstance(error, Refused):
        return GrpcError(Status.UNAVAILABLE, f"no JWT-SVID now: {error.reason}")
    if error.reason == _UNKNOWN_QUESTION:
        return GrpcError(Status.UNIMPLEMENTED, "the cluster agent is of a version without JWT-SVIDs")
    return GrpcError(Status.PERMISSION_DENIED, f"the cluster agent refuses a JWT-SVID: {error.reason}")


def struct_of(value: Any, depth: int = 0) -> bytes:
    """A google.protobuf.Struct. Raises ValueError, OverflowError for what it cannot contain."""
    if depth > _MOST_DEPTH:
        raise ValueError(f"nested more than {_MOST_DEPTH} deep")
    return map_field(1, {name: _value(one, depth) for name, one in value.items()})


def _value(value: Any, depth: int) -> bytes:
    """A google.protobuf.Value."""
    if value is None:
        return varint_field(1, 0)
    if isinstance(value, bool):
        return varint_field(4, int(value))
    if isinstance(value, int | float):
        return double_field(2, float(value))
    if isinstance(value, str):
        return text_field(3, value)
    if isinstance(value, dict):
        return bytes_field(5, struct_of(value, depth + 1))
    if depth >= _MOST_DEPTH:
        raise ValueError(f"nested more than {_MOST_DEPTH} deep")
    return bytes_field(6, b"".join(bytes_field(1, _value(one, depth + 1)) for one in value))
