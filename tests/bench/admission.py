"""What an admission costs: alone, over HTTPS beside nginx, and as the API server sees it.

    python -m tests.bench.admission [--seconds 5] [--rounds 3] [--pods 2000] [--creators 1]
                                    [--only pure|https|pods] [--python …/bin/python]

1. The decision, beside reading the same review's JSON, which nobody can do without.
2. The program, over kept-alive HTTPS connections that send a usual Pod's review, which is injected; in turns
   with it nginx, with the same answer as a file. Client and server share one core. `cpu µs` is the server's
   own processor time for a request, which a busy machine changes less than its rate. The medians of several
   rounds are shown. What answers reviews is machine code, as in the image. With the interpreter of an
   environment that has what the image has (`uv sync --extra webhook`), the memory is that of the image. Which
   build of Python it is counts too: Debian's and the official image's are a tenth faster than a plain one.
3. Pods created through a real API server: its own histogram of how long the webhook took. With more than one
   creator, what it shows is how long everything waits for the processor.

Prints numbers and judges nothing: they are this machine's, at this moment. Ratios are what to compare.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from kubernetes import client, config

from tests.bench import https_load
from tests.bench.https_load import Load, Server
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import programs
from tests.endtoend.installation import installation
from tests.pods import container, pod, restricted_container, review
from tests.webhook.applying import CONFIGURATION, injected
from tests.webhook.machine_code import compiled_webhook
from tests.webhook.serving import certificate
from webhook.admission import admit
from webhook.layout import CONTAINER, ENABLED, INJECT_LABEL

_ROUNDS = 300
_CONNECTIONS = (1, 8)
_NAMESPACE = "bench"
_METRIC = "apiserver_admission_webhook_admission_duration_seconds"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.admission")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement over HTTPS")
    parser.add_argument("--rounds", type=int, default=3, help="in which nginx and the program take turns")
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--creators", type=int, default=1, help="that create Pods at once")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the program over HTTPS")
    parser.add_argument("--only", choices=["pure", "https", "pods"])
    arguments = parser.parse_args()
    if arguments.only in (None, "pure"):
        pure()
    if arguments.only in (None, "https"):
        over_https(arguments.seconds, arguments.rounds, arguments.python)
    if arguments.only in (None, "pods"):
        through_an_api_server(arguments.pods, arguments.creators)


def pure() -> None:
    variables = [{"name": f"USER_{index}", "value": "x" * 40} for index in range(50)]
    large = pod(*(container(f"app-{index}", env=variables) for index in range(20)))
    print(f"{'pod':<10}{'bytes':>9}{'parse ms':>10}{'admit ms':>10}{'p99 ms':>9}{'ratio':>7}")
    for name, subject in (
        ("small", pod()),
        ("usual", usual_pod()),
        ("again", injected(pod())),
        ("large", large),
    ):
        body = json.dumps(review(subject)).encode()
        document = json.loads(body)
        parse = _measured(partial(json.loads, body))
        answer = _measured(partial(admit, document, CONFIGURATION))
        middle, reading = statistics.median(answer), statistics.median(parse)
        slow = statistics.quantiles(answer, n=100)[98]
        print(f"{name:<10}{len(body):>9}{reading:>10.3f}{middle:>10.3f}{slow:>9.3f}{middle / reading:>7.1f}")


def over_https(seconds: int, rounds: int, python: str) -> None:
    if not https_load.is_available():
        print("over HTTPS: not measured, apt-get install nginx-light nghttp2-client", file=sys.stderr)
        return
    document = review(usual_pod())
    answer = admit(document, CONFIGURATION).body
    compiled = compiled_webhook(_say)
    with tempfile.TemporaryDirectory(dir="/tmp") as name, ExitStack() as servers:
        directory = Path(name)
        body, chain, key, static = (directory / one for one in ("review.json", "tls.crt", "tls.key", "nginx"))
        body.write_text(json.dumps(document))
        for path, content in zip((chain, key), certificate(), strict=True):
            path.write_bytes(content)
        static.mkdir()
        ours = servers.enter_context(https_load.webhook(directory, chain, key, python, compiled))
        nginx = servers.enter_context(https_load.nginx(static, chain, key, answer))
        print(f"\n{body.stat().st_size} bytes asked, {len(answer)} answered; client and server on one core")
        print(f"{'server':<10}{'conns':>6}{'a second':>10}{'p50 ms':>8}{'p99 ms':>8}{'cpu µs':>8}")
        for connections in _CONNECTIONS:
            peers, owns = _in_turns((nginx, ours), body, connections, seconds, rounds)
            ratios = [own.rate / peer.rate for own, peer in zip(owns, peers, strict=True)]
            print(f"{'ratio':<10}{connections:>6}{statistics.median(ratios):>10.3f}")
        print(f"resident memory of the webhook: {_resident_mebibytes(ours):.0f} MiB")


def _in_turns(
    servers: Sequence[Server], body: Path, connections: int, seconds: int, rounds: int
) -> list[list[Load]]:
    """The loads of each server, whose medians it prints."""
    for server in servers:
        https_load.load(server, body, connections, 1)  # to warm up
    turns = [[https_load.load(one, body, connections, seconds) for one in servers] for _ in range(rounds)]
    loads = [list(of_server) for of_server in zip(*turns, strict=True)]
    for server, done in zip(servers, loads, strict=True):
        rate, middle, slow, processor = (
            statistics.median(getattr(load, field.name) for load in done) for field in fields(Load)
        )
        print(
            f"{server.name:<10}{connections:>6}{rate:>10.0f}{middle:>8.3f}{slow:>8.3f}{processor:>8.1f}",
            flush=True,
        )
    return loads


def through_an_api_server(count: int, creators: int) -> None:
    found = programs(_say)
    with tempfile.TemporaryDirectory() as logs, ControlPlane(found) as control_plane:
        with installation(control_plane, Path(logs)) as installed:
            labels = {INJECT_LABEL: ENABLED}
            namespace = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": _NAMESPACE, "labels": labels},
            }
            installed.apply(namespace)
            api = client.CoreV1Api(
                config.new_client_from_config(str(control_plane.kubeconfig))  # type: ignore[no-untyped-call]
            )
            # Never scheduled: nothing else happens to them.
            subject: Any = usual_pod()
            subject["spec"]["schedulingGates"] = [{"name": "bench/never"}]
            del subject["spec"]["serviceAccountName"], subject["metadata"]["ownerReferences"]

            def create(_: int) -> bool:
                made: Any = api.create_namespaced_pod(_NAMESPACE, subject)
                return any(one.name == CONTAINER for one in made.spec.init_containers or [])

            create(0)
            before = _histogram(installed.kubectl("get", "--raw", "/metrics"))
            began = time.perf_counter()
            with ThreadPoolExecutor(creators) as threads:
                is_injected = list(threads.map(create, range(count)))
            took = time.perf_counter() - began
            after = _histogram(installed.kubectl("get", "--raw", "/metrics"))
        assert all(is_injected), f"{is_injected.count(False)} Pods are not injected"
        buckets = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
        total = buckets[float("inf")]
        print(f"\n{total:.0f} Pods created, {count / took:.0f} a second, {_METRIC}:")
        print("  ".join(f"≤ {bound:g} s: {number / total:.2%}" for bound, number in buckets.items()))
        print(f"p99 ≤ {min(bound for bound, number in buckets.items() if number >= total * 0.99):g} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _histogram(text: str) -> dict[float, float]:
    """The buckets of our webhook's calls, by their upper bound in seconds."""
    found: dict[float, float] = defaultdict(float)
    for labels, number in re.findall(rf"^{_METRIC}_bucket{{(.*)}} (\S+)$", text, re.MULTILINE):
        bound = re.search(r'le="(.*?)"', labels)
        if 'name="pods.vanadium.io"' in labels and bound is not None:
            found[float(bound[1])] += float(number)
    return found


def usual_pod() -> dict[str, Any]:
    """A Pod of a Deployment, with the defaults of the API server and the service account's token."""
    variables = [{"name": f"SETTING_{index}", "value": f"value number {index}"} for index in range(8)]
    node = {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}
    token = "kube-api-access-x7k2p"
    mounts = [
        {"name": "config", "mountPath": "/etc/app"},
        {"name": token, "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
    ]
    probe = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    containers = [
        restricted_container(
            name,
            ports=[{"name": name, "containerPort": port, "protocol": "TCP"}],
            env=[*variables, node],
            resources={
                "limits": {"cpu": "500m", "memory": "256Mi"},
                "requests": {"cpu": "100m", "memory": "128Mi"},
            },
            volumeMounts=mounts,
            livenessProbe={"httpGet": {"path": "/healthz", "port": name, "scheme": "HTTP"}, **probe},
            readinessProbe={"httpGet": {"path": "/readyz", "port": name, "scheme": "HTTP"}, **probe},
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
            imagePullPolicy="IfNotPresent",
        )
        for name, port in (("web", 8080), ("proxy", 9090))
    ]
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    made = pod(
        *containers,
        generate_name="web-7d9f8c6b5-",
        labels={"app": "web", "pod-template-hash": "7d9f8c6b5"},
        annotations={"prometheus.io/scrape": "true"},
        volumes=[
            {"name": "config", "configMap": {"name": "web-config", "defaultMode": 420}},
            {"name": token, "projected": {"sources": sources, "defaultMode": 420}},
        ],
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        serviceAccountName="web",
        securityContext={},
        schedulerName="default-scheduler",
        enableServiceLinks=True,
    )
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f8c6b5", "uid": "705ab4f5-6393"}
    made["metadata"]["ownerReferences"] = [{**owner, "controller": True, "blockOwnerDeletion": True}]
    return made


def _resident_mebibytes(server: Server) -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{server.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _measured(run: Callable[[], object]) -> list[float]:
    """Milliseconds of each of many runs."""
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1000)
    return times


if __name__ == "__main__":
    main()
