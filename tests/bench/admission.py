"""What an admission costs: alone, over HTTPS beside nginx, and as the API server sees it.

    python -m tests.bench.admission [--seconds 5] [--rounds 3] [--pods 2000] [--paces 1 4 20/s] [--source]
                                    [--prefer] [--only pure|https|pods] [--python …/bin/python]

1. The decision, beside reading the same review's JSON, which nobody can do without.
2. The program, over kept-alive HTTPS connections that send a usual Pod's review, which is injected; in turns
   with it nginx, with the same answer as a file. Client and server share one core. `cpu µs` is the server's
   own processor time for a request, which a busy machine changes less than its rate. The medians of several
   rounds are shown. What answers reviews is machine code, as in the image. With the interpreter of an
   environment that has what the image has (`uv sync --extra webhook`), the memory is that of the image. Which
   build of Python it is counts too: Debian's and the official image's are a tenth faster than a plain one.
3. Pods created through a real API server, one after another, by four clients, and twenty a second: its own
   histogram of how long the webhook took, in turns with nginx, whose answer is a file with the same patch.
   What it shows of nginx is what the API server and the machine take. `--source` runs the webhook from its
   source, to compare with; `--prefer` lets both webhooks run before all else, as on nodes of their own.
   On a machine that has more to do, `chrt -r 9` before the whole command makes the rest of it wait.

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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from pathlib import Path

from tests.bench import https_load, pod_creations
from tests.bench.https_load import Load, Server
from tests.bench.pod_creations import Pace
from tests.checkout import CHECKOUT
from tests.endtoend.program import Runtime
from tests.pods import container, pod, review, usual_pod
from tests.webhook.applying import CONFIGURATION, injected
from tests.webhook.machine_code import compiled_webhook
from tests.webhook.serving import certificate
from webhook.admission import admit

_ROUNDS = 300
_CONNECTIONS = (1, 8)
# The last one is that of a kube-controller-manager with its default settings.
_PACES = [Pace(1), Pace(4), Pace(rate=20)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.admission")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement over HTTPS")
    parser.add_argument("--rounds", type=int, default=3, help="in which nginx and the program take turns")
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--paces", type=Pace.parse, nargs="+", default=_PACES, help="clients, or a rate")
    parser.add_argument("--source", action="store_true", help="through an API server, run it from its source")
    parser.add_argument("--prefer", action="store_true", help="through an API server, by chrt (root)")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the program")
    parser.add_argument("--only", choices=["pure", "https", "pods"])
    arguments = parser.parse_args()
    if arguments.only in (None, "pure"):
        pure()
    if not https_load.is_available():
        _say("the rest is not measured: apt-get install nginx-light nghttp2-client")
        return
    if arguments.only in (None, "https"):
        over_https(arguments.seconds, arguments.rounds, arguments.python)
    if arguments.only in (None, "pods"):
        prefix = ["chrt", "-r", "10"] if arguments.prefer else []
        directory = CHECKOUT if arguments.source else compiled_webhook(_say)
        runtime = Runtime([*prefix, arguments.python, "-OO"], directory)
        pod_creations.measure(arguments.pods, arguments.paces, runtime, prefix, _say)


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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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
