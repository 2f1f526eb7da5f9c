"""The Workload API by the messages of the unmodified client, for what its own classes do not show."""

from __future__ import annotations

from typing import Any

import grpc
from spiffe._proto import workload_pb2, workload_pb2_grpc


def x509_svids(channel: grpc.Channel, timeout: float | None = None) -> Any:
    """The stream of X509SVIDResponse, a grpc call that can be cancelled."""
    stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(channel)  # type: ignore[no-untyped-call]  # generated code
    metadata = (("workload.spiffe.io", "true"),)
    return stub.FetchX509SVID(workload_pb2.X509SVIDRequest(), metadata=metadata, timeout=timeout)
