"""From a namespace's label to its Secret, beside a plain Secret that the same client creates:

    python -m tests.bench.reconciling [--one-by-one 30] [--at-once 60]

A real API server, webhook and cluster agent with their defaults. All Secrets are seen by one watch. The
namespaces, each with one service account, are there before. Prints numbers and judges nothing: they are this
machine's, at this moment. `ratio` is what to compare.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import programs
from tests.endtoend.installation import installation
from tests.waiting import wait_for
from webhook.layout import BOOTSTRAP_SECRET, ENABLED, INJECT_LABEL

_PLAIN = "plain"
_SECRETS = "/api/v1/secrets"
_SECONDS = 300


class Seen:
    """When the watch told of each Secret, by namespace and name."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._at: dict[tuple[str, str], float] = {}
        self._changed = threading.Condition()

    @contextmanager
    def watching(self) -> Iterator[None]:
        query = {"watch": "1", "timeoutSeconds": "3600"}
        with self._client.stream("GET", _SECRETS, params=query, timeout=None) as answer:
            answer.raise_for_status()
            threading.Thread(target=self._read, args=(answer,), daemon=True).start()
            yield

    def _read(self, answer: httpx.Response) -> None:
        try:
            for line in answer.iter_lines():
                now, metadata = time.perf_counter(), json.loads(line)["object"]["metadata"]
                with self._changed:
                    self._at.setdefault((metadata["namespace"], metadata["name"]), now)
                    self._changed.notify()
        except (httpx.HTTPError, httpx.StreamError):
            pass  # the end of the block closed it

    def when(self, namespace: str, name: str) -> float:
        """Waits for it."""
        one = (namespace, name)
        with self._changed:
            assert self._changed.wait_for(lambda: one in self._at, _SECONDS), one
            return self._at[one]


class Bench:
    """The client, and what it measures in seconds."""

    def __init__(self, client: httpx.Client, seen: Seen) -> None:
        self._client = client
        self._seen = seen

    def make_namespaces(self, names: Sequence[str]) -> None:
        for name in names:
            self._client.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()
        for name in names:
            account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
            wait_for("a service account", lambda path=account: self._client.get(path).is_success)  # type: ignore[misc]

    def label(self, name: str) -> None:
        body = {"metadata": {"labels": {INJECT_LABEL: ENABLED}}}
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"/api/v1/namespaces/{name}"
        self._client.patch(path, content=json.dumps(body), headers=headers).raise_for_status()

    def create_secret(self, name: str) -> None:
        body = {"metadata": {"name": _PLAIN}, "stringData": {"key": "x" * 2000}}
        self._client.post(f"/api/v1/namespaces/{name}/secrets", json=body).raise_for_status()

    def one_by_one(self, names: Sequence[str]) -> tuple[list[float], list[float]]:
        """In turns: what slows the machine down for some seconds slows down both."""
        ours, plain = [], []
        for name in names:
            plain.append(self._until_seen([name], self.create_secret, _PLAIN))
            ours.append(self._until_seen([name], self.label, BOOTSTRAP_SECRET))
        return ours, plain

    def at_once(self, names: Sequence[str]) -> tuple[float, float]:
        plain = self._until_seen(names, self.create_secret, _PLAIN)
        return self._until_seen(names, self.label, BOOTSTRAP_SECRET), plain

    def _until_seen(self, names: Sequence[str], act: Callable[[str], None], secret: str) -> float:
        began = time.perf_counter()
        for name in names:
            act(name)
        return max(self._seen.when(name, secret) for name in names) - began


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one-by-one", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=60)
    arguments = parser.parse_args()
    found = programs(lambda line: print(line, file=sys.stderr, flush=True))
    with (
        tempfile.TemporaryDirectory() as logs,
        ControlPlane(found) as control_plane,
        installation(control_plane, Path(logs)),
        control_plane.http_client() as client,
    ):
        seen = Seen(client)
        with seen.watching():
            bench = Bench(client, seen)
            turns = [f"turn-{number}" for number in range(arguments.one_by_one)]
            crowd = [f"crowd-{number}" for number in range(arguments.at_once)]
            bench.make_namespaces([*turns, *crowd])
            ours, plain = bench.one_by_one(turns)
            all_ours, all_plain = bench.at_once(crowd)
    print(f"{len(turns)} namespaces, one after the other, milliseconds       median   worst   ratio")
    _line("from the label to the namespace's Secret", ours, ours, plain)
    _line("from a plain Secret's creation to the watch", plain, plain, plain)
    print(f"{len(crowd)} namespaces at once, a second                                  ratio")
    rates = len(crowd) / all_ours, len(crowd) / all_plain
    print(f"  labelled, until they have their Secrets     {rates[0]:12.1f}{rates[0] / rates[1]:14.2f}")
    print(f"  plain Secrets                               {rates[1]:12.1f}{1:14.2f}")


def _line(what: str, values: Sequence[float], ours: Sequence[float], plain: Sequence[float]) -> None:
    ratio = statistics.median(ours) / statistics.median(plain)
    median, worst = statistics.median(values) * 1000, max(values) * 1000
    print(f"  {what:<45}{median:12.0f}{worst:8.0f}{ratio:8.1f}")


if __name__ == "__main__":
    main()
