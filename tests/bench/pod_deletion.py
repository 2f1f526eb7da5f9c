"""From a Pod's deletion to the revocation list, and to a peer: `python -m tests.bench.pod_deletion`.

A real API server, the cluster agent with its defaults, and one replica whose Workload API stream is read as
an application reads it. Twenty more Pods of its application are blessed and deleted, one after the other.
Each figure stands beside the bound that docs/security-model.md states.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import yaml

from blessings import Blessing, Principal, RevocationList
from tests.checkout import CHECKOUT
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import programs
from tests.endtoend.calls import revoked_serials, seek
from tests.endtoend.installation import Installation, installation
from tests.waiting import wait_for
from tests.workload_api import x509_svids

STATED_ON_LIST, STATED_AT_PEER = 10, 30
PLACE = "shop"


class Peer:
    """The revoked serial numbers that a replica's application was told, and when it heard of each."""

    def __init__(self, socket: str) -> None:
        self.heard: dict[int, float] = {}
        self._channel = grpc.insecure_channel(f"unix://{socket}")
        self._stream = x509_svids(self._channel)
        self._thread = threading.Thread(target=self._listen)

    @contextmanager
    def listening(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stream.cancel()
            self._thread.join()
            self._channel.close()

    def _listen(self) -> None:
        try:
            for message in self._stream:
                now = time.monotonic()
                for der in message.crl:
                    for serial in RevocationList.from_der(der).serials:
                        self.heard.setdefault(serial, now)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pod_deletion")
    parser.add_argument("--pods", type=int, default=20)
    count = parser.parse_args().pods
    found = programs(lambda line: print(line, file=sys.stderr, flush=True))
    with (
        tempfile.TemporaryDirectory() as logs,
        ControlPlane(found) as control_plane,
        installation(control_plane, Path(logs)) as installed,
    ):
        manifests = list(yaml.safe_load_all((CHECKOUT / "examples/fortune/deployment.yaml").read_text()))
        deployment = next(one for one in manifests if one["kind"] == "Deployment")
        deployment["spec"]["replicas"] = 1
        installed.apply(*manifests)
        (pod,) = installed.ready_pods(PLACE, 1)
        running = installed.runner.pod(pod["metadata"]["name"])
        peer = Peer(str(running.path_in("fortune", "/run/vanadium/workload.sock")))
        with peer.listening():
            waits = [deleted(installed, peer, f"gone-{number}") for number in range(count)]
    print(
        f"{count} Pods, one after the other; seconds from the deletion's answer       median  worst  stated"
    )
    report("on the cluster agent's list", [listed for listed, _ in waits], STATED_ON_LIST)
    report("told to a peer's application", [told for _, told in waits], STATED_AT_PEER)


def report(what: str, seconds: Sequence[float], stated: float) -> None:
    print(f"{what:<68}{statistics.median(seconds):>6.1f}{max(seconds):>7.1f}{stated:>8}")


def deleted(installed: Installation, peer: Peer, name: str) -> tuple[float, float]:
    """Seconds from the deletion of a blessed Pod until the list has it, and until `peer` was told."""
    installed.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": PLACE, "labels": {"vanadium.io/inject": "disabled"}},
            "spec": {
                "serviceAccountName": "fortune",
                # It need not run: who has its token and the Secret is blessed.
                "schedulerName": "nobody",
                "containers": [{"name": "nothing", "image": "nothing"}],
            },
        }
    )
    token = installed.kubectl(
        "create", "token", "fortune", "-n", PLACE, "--audience=vanadium-cluster-agent",
        "--bound-object-kind=Pod", f"--bound-object-name={name}",
    ).strip()  # fmt: skip
    principal = Principal.create()
    credential = installed.credential(PLACE, "fortune")
    answer = seek(installed, credential, token, principal).raise_for_status()
    serial = Blessing.from_pem(answer.json()["chain"]).leaf.serial_number
    installed.kubectl("delete", "pod", name, "-n", PLACE, "--grace-period=0", "--force")
    began = time.monotonic()
    wait_for(f"the revocation of {name}", lambda: serial in revoked_serials(installed, credential), 120)
    listed = time.monotonic() - began
    wait_for(f"{name} told to a peer", lambda: serial in peer.heard, 120)
    return listed, peer.heard[serial] - began


if __name__ == "__main__":
    main()
