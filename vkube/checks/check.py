"""A check, and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from vkube.checks.facts import Facts


class Verdict(StrEnum):
    """`FAIL` makes the command end with 4; `WARN` does not. `SKIP`: what the check is about is not there."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIP = "skip"


@dataclass(frozen=True)
class Found:
    """What is wrong, and what to do. Nothing is wrong without `what`."""

    what: str = ""
    todo: str = ""
    verdict: Verdict = Verdict.FAIL


Problems = Iterator[Found]


@dataclass(frozen=True)
class Check:
    """A check: its name, and the function that yields what is wrong. It is right when that yields nothing."""

    name: str
    problems: Callable[[Facts], Problems]


@dataclass(frozen=True)
class Result:
    """The result of a check; `what` and `todo` are empty when it is right."""

    name: str
    verdict: Verdict
    what: str = ""
    todo: str = ""


def results(checks: tuple[Check, ...], facts: Facts) -> list[Result]:
    """The result of each check, with every problem that it found in one line; the worst verdict counts."""
    made = []
    for check in checks:
        found = list(check.problems(facts))
        if not found:
            made.append(Result(check.name, Verdict.OK))
            continue
        worst = next(
            one for one in (Verdict.FAIL, Verdict.WARN, Verdict.SKIP) if one in [p.verdict for p in found]
        )
        todo = "; ".join(dict.fromkeys(one.todo for one in found if one.todo))
        made.append(Result(check.name, worst, "; ".join(one.what for one in found), todo))
    return made
