"""Structured mutants of AdmissionReviews: no crash, and each answer is a valid review or a 4xx.

    python -m tests.fuzz.reviews [--mutants 100000] [--over-https 10000] [--seed 1]

The answers are those of the pure function and of the running program, over HTTPS. A patch must apply to its
Pod, and the injected Pod must need no second one.

Prints how many mutants got which answer, and for a finding the mutant's number: with the seed, that number
makes the same mutant again (`--only NUMBER`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import jsonpatch

from tests.fuzz.review_mutants import POSSIBLE, Mutants
from tests.webhook.applying import CONFIGURATION, patch_of
from tests.webhook.serving import running_webhook
from webhook.admission import admit
from webhook.body import parse
from webhook.errors import BadRequestError
from webhook.reasons import AdmissionReason

Answer: TypeAlias = tuple[int, bytes]
"""Status and content."""

_REASONS = frozenset(reason.value for reason in AdmissionReason)


def decided(body: bytes) -> Answer:
    """The pure function's answer."""
    try:
        return 200, admit(parse(body), CONFIGURATION, support=POSSIBLE).body
    except BadRequestError as error:
        return error.status, json.dumps(
            {"error": {"reason": error.reason.value, "message": str(error)}}
        ).encode()


def judged(body: bytes, answer: Answer) -> str:
    """The answer's reason. Raises AssertionError for an answer that is none."""
    status, content = answer
    document = json.loads(content)
    if status != 200:
        assert 400 <= status < 500, f"answered {status}"
        assert document["error"]["reason"] in _REASONS
        assert document["error"]["message"]
        return f"{status} {document['error']['reason']}"
    asked: Any = json.loads(body)  # the answer claims that it is a review
    response = document["response"]
    assert document["apiVersion"] == asked["apiVersion"]
    assert document["kind"] == "AdmissionReview"
    assert response["uid"] == asked["request"]["uid"]
    reason: str = response["auditAnnotations"]["reason"]
    assert reason in _REASONS
    assert all(isinstance(one, str) and 0 < len(one) <= 256 for one in response.get("warnings", []))
    if not response["allowed"]:
        assert response["status"]["reason"] == reason
        assert response["status"]["message"]
        assert "patch" not in response
        return f"refused {reason}"
    assert "status" not in response
    operations = patch_of(document)
    assert ("patch" in response) == bool(operations)
    if operations:
        _check_patch(asked, operations)
    return f"allowed {reason}"


def _check_patch(asked: Any, operations: list[dict[str, Any]]) -> None:
    assert all(set(one) == {"op", "path", "value"} and one["op"] == "add" for one in operations)
    changed = jsonpatch.apply_patch(asked["request"]["object"], operations)
    second = {**asked, "request": {**asked["request"], "object": changed}}
    again = admit(second, CONFIGURATION, support=POSSIBLE).answer
    assert again["response"]["allowed"], f"the injected Pod is refused: {again}"
    assert not patch_of(again), "the injected Pod gets another patch"


def tried(
    mutants: Mutants, numbers: Iterable[int], answer: Callable[[bytes], Answer]
) -> tuple[Counter[str], list[str]]:
    """How many got which answer; and the findings."""
    counts: Counter[str] = Counter()
    findings = []
    for number in numbers:
        body = mutants.body(number)
        try:
            counts[judged(body, answer(body))] += 1
        except Exception as error:  # noqa: BLE001 - whatever happens is a finding
            findings.append(f"mutant {number}: {type(error).__name__}: {str(error)[:300]}")
    return counts, findings


def sent(client: httpx.Client, body: bytes) -> Answer:
    """The running program's answer."""
    answer = client.post("/mutate?timeout=5s", content=body, headers={"content-type": "application/json"})
    return answer.status_code, answer.content


def main() -> int:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument(
        "--over-https", type=int, default=10_000, help="so many of them to the running program, too"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="print this mutant and its answer")
    given = parser.parse_args()
    mutants = Mutants(given.seed)
    if given.only is not None:
        body = mutants.body(given.only)
        print(body.decode(errors="backslashreplace"), decided(body), sep="\n")
        return 0
    findings = _report("pure", mutants, given.mutants, decided)
    if given.over_https:
        with tempfile.TemporaryDirectory() as directory, running_webhook(Path(directory)) as webhook:
            with webhook.client() as client:
                findings += _report("over HTTPS", mutants, given.over_https, partial(sent, client))
            findings += [f"log: {line}" for line in webhook.lines if line.get("level") == "error"]
    print(*findings[:20], sep="\n", file=sys.stderr)
    print(f"{len(findings)} findings")
    return 1 if findings else 0


def _report(where: str, mutants: Mutants, count: int, answer: Callable[[bytes], Answer]) -> list[str]:
    began = time.monotonic()
    counts, findings = tried(mutants, range(count), answer)
    print(f"{where}: {count} mutants in {time.monotonic() - began:.0f} s")
    for name, number in counts.most_common():
        print(f"  {number:>8}  {name}")
    return findings


if __name__ == "__main__":
    sys.exit(main())
