"""Kills cluster agents with SIGKILL at random moments: while they issue, while administrators act, while they
are claimed. Looks afterwards whether anything that was answered is gone, or anything is there in part.

    python -m tests.cluster_agent.kills --cycles 5000 --store sqlite
    python -m tests.cluster_agent.kills --cycles 500 --store postgresql --seed 7 --during administration
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.cluster_agent.kills.administration import kill_administered
from tests.cluster_agent.kills.claims import kill_claimed
from tests.cluster_agent.kills.issuing import kill_one, kill_one_of_two
from tests.postgresql import Postgresql, running_postgresql

DURING = ("issuing", "administration", "claims")


def killed(
    during: str,
    cycles: int,
    directory: Path,
    chance: random.Random,
    server: Postgresql | None,
) -> tuple[str, list[str]]:
    """What was answered, in words, and what is wrong."""
    directory.mkdir()
    url = None if server is None else server.new_database()
    if during == "administration":
        acts, problems = kill_administered(cycles, directory, chance, url)
        return f"{sum(acts)} acts of administrators answered", problems
    if during == "claims":
        killer, problems = kill_claimed(
            cycles, directory, chance, None if server is None else server.new_database
        )
        return f"{killer.answered} claims and imports answered, {killer.unanswered} not", problems
    if url is None:
        answered, problems = kill_one(cycles, directory, chance)
    else:
        answered, problems = kill_one_of_two(cycles, directory, chance, url)
    return (
        f"{answered.calls} calls answered, {len(answered.secrets)} secrets, of them "
        f"{len(answered.forgotten)} forgotten, {len(answered.blessings)} blessings"
    ), problems


@contextmanager
def _store(kind: str) -> Iterator[Postgresql | None]:
    with ExitStack() as stack:
        yield None if kind == "sqlite" else stack.enter_context(running_postgresql())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000, help="of each kind")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--during", choices=DURING, action="append", help="by default all, one after another")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    wrong = False
    with (
        tempfile.TemporaryDirectory() as directory,
        _store(arguments.store) as server,
    ):
        for during in arguments.during or DURING:
            chance, began = random.Random(arguments.seed), time.monotonic()
            said, problems = killed(during, arguments.cycles, Path(directory) / during, chance, server)
            print(
                f"{during}: {arguments.cycles} cycles with seed {arguments.seed} "
                f"in {time.monotonic() - began:.0f} s: {said}",
                flush=True,
            )
            for problem in problems:
                print(f"WRONG: {problem}", flush=True)
            wrong = wrong or bool(problems)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
