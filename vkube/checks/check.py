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
    """The result of a check: the worst verdict, and each problem; without any it is right."""

    name: str
    verdict: Verdict
    problems: tuple[Found, ...] = ()

    @property
    def what(self) -> str:
        """What is wrong, in one line."""
        return "; ".join(one.what for one in self.problems)

    @property
    def todo(self) -> str:
        """What to do, in one line."""
        return "; ".join(dict.fromkeys(one.todo for one in self.problems if one.todo))


def results(checks: tuple[Check, ...], facts: Facts) -> list[Result]:
    """The result of each check."""
    made = []
    for check in checks:
        found = tuple(check.problems(facts))
        verdicts = {one.verdict for one in found} or {Verdict.OK}
        worst = next(one for one in (Verdict.FAIL, Verdict.WARN, Verdict.SKIP, Verdict.OK) if one in verdicts)
        made.append(Result(check.name, worst, found))
    return made
