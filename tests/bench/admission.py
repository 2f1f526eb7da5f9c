"""How long an admission takes, beside reading the same review's JSON, which nobody can do without.

    python -m tests.bench.admission

Prints numbers and judges nothing: they are this machine's, at this moment. `ratio` is what to compare.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial

from tests.pods import container, pod, review
from tests.webhook.applying import CONFIGURATION, injected
from webhook.admission import admit

_ROUNDS = 300


def main() -> None:
    """Measures a small Pod, a Pod that has all it needs, and one with many containers and variables."""
    variables = [{"name": f"USER_{index}", "value": "x" * 40} for index in range(50)]
    large = pod(*(container(f"app-{index}", env=variables) for index in range(20)))
    print(f"{'pod':<10}{'bytes':>9}{'parse ms':>10}{'admit ms':>10}{'p99 ms':>9}{'ratio':>7}")
    for name, subject in (("small", pod()), ("again", injected(pod())), ("large", large)):
        body = json.dumps(review(subject)).encode()
        document = json.loads(body)
        parse = _measured(partial(json.loads, body))
        answer = _measured(partial(_answer, document))
        middle, reading = statistics.median(answer), statistics.median(parse)
        slow = statistics.quantiles(answer, n=100)[98]
        print(f"{name:<10}{len(body):>9}{reading:>10.3f}{middle:>10.3f}{slow:>9.3f}{middle / reading:>7.1f}")


def _answer(document: object) -> str:
    return json.dumps(admit(document, CONFIGURATION).answer)


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
