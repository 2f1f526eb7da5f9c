"""The header that proves that a client is not a tricked HTTP client (Workload Endpoint, section 6.1)."""

from __future__ import annotations

from pod_agent.errors import GrpcError
from pod_agent.grpc.call import Call
from pod_agent.grpc.status import Status

_NAME = "workload.spiffe.io"


def check_security_header(call: Call) -> None:
    """Raises GrpcError for a call without it. Every method of the Workload API checks it first."""
    if call.metadata.get(_NAME) != "true":
        raise GrpcError(Status.INVALID_ARGUMENT, f"security header missing: send metadata {_NAME}: true")
