"""Pods created through a real API server, and what it reports of the webhook that it calls for each.

Its histogram `apiserver_admission_webhook_admission_duration_seconds` counts from before the review is built
to after the patch is applied: its JSON, the call, and decoding, patching, comparing and defaulting the Pod.
So beside ours there is another webhook, in turns: nginx, whose answer is a file with the same patch. What the
histogram shows of that one is what the API server and the machine take by themselves.
"""

from __future__ import annotations

import base64
import json
import math
import re
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import https_load
from tests.bench.https_load import Server
from tests.checkout import CHECKOUT
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import Say, programs
from tests.endtoend.installation import Installation, installation
from tests.endtoend.program import Runtime
from tests.pods import review, usual_pod
from tests.waiting import wait_for
from tests.webhook.applying import CONFIGURATION
from tests.webhook.serving import certificate
from webhook.admission import admit
from webhook.layout import CONTAINER, ENABLED, INJECT_LABEL

_METRIC = "apiserver_admission_webhook_admission_duration_seconds"
_TURNS = 8
_WARMING_UP = 50
_OUR_NAMESPACE, _PEER_NAMESPACE = "bench", "bench-peer"
_PEER = "pods.peer.bench"


@dataclass(frozen=True)
class Pace:
    """How Pods are created: by so many clients, each one after another, and each at most so many a second."""

    clients: int = 1
    rate: int | None = None

    @classmethod
    def parse(cls, text: str) -> Pace:
        """`4` is four clients; `20/s` is one that creates twenty a second."""
        return cls(rate=int(text.removesuffix("/s"))) if text.endswith("/s") else cls(int(text))

    def __str__(self) -> str:
        return f"{self.clients} at once" if self.rate is None else f"{self.rate}/s"


@dataclass
class Seen:
    """What the API server counted of one webhook: `buckets` by their upper bound in seconds."""

    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    seconds: float = 0.0

    def add(self, other: Seen, sign: int = 1) -> None:
        for bound, number in other.buckets.items():
            self.buckets[bound] += sign * number
        self.seconds += sign * other.seconds

    @property
    def count(self) -> float:
        return self.buckets[math.inf]


@dataclass
class Measured:
    """A webhook, by its name in the API server, and the namespace whose Pods it gets; and what was seen."""

    hook: str
    namespace: str
    server: Server
    seen: Seen = field(default_factory=Seen)
    seconds: float = 0.0
    processor: float = 0.0
    own: list[float] = field(default_factory=list)
    """Milliseconds that it wrote of itself."""

    def line(self, pace: Pace) -> str:
        count = self.seen.count
        shares = [self.seen.buckets[bound] / count for bound in (0.005, 0.025)]
        text = (
            f"{self.server.name:<10}{pace!s:<11}{count / self.seconds:>8.0f}"
            f"{self.seen.seconds / count * 1000:>9.2f}{shares[0]:>9.2%}{shares[1]:>10.2%}"
            f"{self.processor / count * 1e6:>8.0f}"
        )
        if self.own:
            parts = statistics.quantiles(self.own, n=100)
            text += f"{parts[49]:>14.3f}{parts[98]:>8.3f}{max(self.own):>8.3f}"
        return text


_HEAD = (
    f"{'webhook':<10}{'created':<11}{'Pods/s':>8}{'mean ms':>9}{'<= 5 ms':>9}{'<= 25 ms':>10}{'cpu µs':>8}"
    f"{'own ms: p50':>14}{'p99':>8}{'most':>8}"
)


def measure(count: int, paces: Sequence[Pace], runtime: Runtime, prefix: Sequence[str], say: Say) -> None:
    """Prints the table. `runtime` is our webhook's; `prefix` is put before nginx's command."""
    with (
        tempfile.TemporaryDirectory() as name,
        ControlPlane(programs(say)) as control_plane,
        installation(control_plane, Path(name), runtime) as installed,
        _peer(installed, prefix) as nginx,
    ):
        assert https_load.is_machine_code(installed.webhook_pid) == (runtime.directory != CHECKOUT)
        ours = Server("webhook", 0, installed.webhook_pid)
        body = Path(name) / "pod.json"
        body.write_text(json.dumps(_subject()))
        for namespace in (_OUR_NAMESPACE, _PEER_NAMESPACE):
            for pace in paces:
                _create(control_plane, namespace, body, _WARMING_UP, Pace(pace.clients))
        print(f"\n{_METRIC}, {count} Pods each\n{_HEAD}", flush=True)
        for pace in paces:
            measured = [
                Measured("pods.vanadium.io", _OUR_NAMESPACE, ours),
                Measured(_PEER, _PEER_NAMESPACE, nginx),
            ]
            for _ in range(_TURNS):
                for one in measured:
                    _turn(installed, one, body, math.ceil(count / _TURNS), pace)
            for one in measured:
                print(one.line(pace), flush=True)
        for namespace in (_OUR_NAMESPACE, _PEER_NAMESPACE):
            _check_injected(installed, namespace)


def _turn(installed: Installation, measured: Measured, body: Path, count: int, pace: Pace) -> None:
    log = installed.logs / "webhook.log"
    written, spent = log.stat().st_size, measured.server.processor_seconds()
    measured.seen.add(_seen(installed, measured.hook), -1)
    began = time.perf_counter()
    _create(installed.control_plane, measured.namespace, body, count, pace)
    measured.seconds += time.perf_counter() - began
    measured.seen.add(_seen(installed, measured.hook))
    measured.processor += measured.server.processor_seconds() - spent
    with log.open("rb") as lines:
        lines.seek(written)
        measured.own += map(float, re.findall(rb'"milliseconds":([\d.]+)', lines.read()))


def _create(control_plane: ControlPlane, namespace: str, body: Path, count: int, pace: Pace) -> None:
    """By a client in C, which leaves the processor to those that are measured."""
    done = subprocess.run(
        [
            *("h2load", "--h1", "-t1", f"-c{pace.clients}", f"-n{count}", f"-d{body}"),
            *([] if pace.rate is None else [f"--rps={pace.rate}"]),
            *("-H", "content-type: application/json"),
            *("-H", f"authorization: Bearer {control_plane.admin_token}"),
            f"{control_plane.url}/api/v1/namespaces/{namespace}/pods",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f" {count} 2xx" in done.stdout, done.stdout


def _seen(installed: Installation, hook: str) -> Seen:
    """The histogram of a webhook's calls until now."""
    seen = Seen()
    text = installed.kubectl("get", "--raw", "/metrics")
    for kind, labels, number in re.findall(rf"^{_METRIC}_(bucket|sum){{(.*)}} (\S+)$", text, re.MULTILINE):
        if f'name="{hook}"' not in labels:
            continue
        if kind == "sum":
            seen.seconds += float(number)
        elif (bound := re.search(r'le="(.*?)"', labels)) is not None:
            seen.buckets[float(bound[1])] += float(number)
    return seen


def _subject() -> Any:
    """A Pod that is never scheduled: nothing else happens to it."""
    subject: Any = usual_pod()
    subject["spec"]["schedulingGates"] = [{"name": "bench/never"}]
    del subject["spec"]["serviceAccountName"], subject["metadata"]["ownerReferences"]
    return subject


@contextmanager
def _peer(installed: Installation, prefix: Sequence[str]) -> Iterator[Server]:
    """The namespaces, and nginx as the webhook of one of them."""
    # In this version of the review, the answer need not repeat the request's uid, which no file can.
    answer = admit(review(_subject(), version="v1beta1"), CONFIGURATION).body
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        static, chain, key = (Path(name) / one for one in ("nginx", "tls.crt", "tls.key"))
        for path, content in zip((chain, key), certificate(), strict=True):
            path.write_bytes(content)
        static.mkdir()
        with https_load.nginx(static, chain, key, answer, prefix) as nginx:
            installed.apply(
                _namespace(_OUR_NAMESPACE, {INJECT_LABEL: ENABLED}), _namespace(_PEER_NAMESPACE, {})
            )
            for namespace in (_OUR_NAMESPACE, _PEER_NAMESPACE):
                asked = ("get", "serviceaccount", "-n", namespace, "-o", "name")
                wait_for("service account", partial(installed.kubectl, *asked))
            installed.apply(_peer_configuration(installed, nginx, chain.read_bytes()))
            yield nginx


def _peer_configuration(installed: Installation, nginx: Server, authority: bytes) -> dict[str, Any]:
    ours = installed.get("mutatingwebhookconfiguration", "vanadium-webhook")["webhooks"][0]
    peer = {
        **{same: ours[same] for same in ("rules", "matchPolicy", "matchConditions", "sideEffects")},
        "name": _PEER,
        "admissionReviewVersions": ["v1beta1"],
        "failurePolicy": "Fail",
        "clientConfig": {
            "url": f"https://127.0.0.1:{nginx.port}/mutate",
            "caBundle": base64.b64encode(authority).decode(),
        },
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": _PEER_NAMESPACE}},
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "peer"},
        "webhooks": [peer],
    }


def _namespace(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _check_injected(installed: Installation, namespace: str) -> None:
    shown = "jsonpath={range .items[*]}{.metadata.name} {.spec.initContainers[*].name}{'\\n'}{end}"
    lines = [
        line.split() for line in installed.kubectl("get", "pods", "-n", namespace, "-o", shown).splitlines()
    ]
    left = [name for name, *containers in lines if CONTAINER not in containers]
    assert lines, namespace
    assert not left, f"{len(left)} of {len(lines)} Pods in {namespace} are not injected: {left[0]}"
