"""How long it takes to register an application among many names, beside a bare insert of the same row into
the same store; and how long the event loop was held meanwhile.

    python -m tests.bench.registering [--store sqlite|postgresql] [--names 0,1500,100000] [--calls 300]

Each of the many applications also has a secret and a certificate. Prints numbers and judges nothing: they are
this machine's, at this moment. `ratio` is what to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, Table, Text, insert

from blessings import Name
from cluster_agent.model import Application
from cluster_agent.registry.registry import Registration
from tests.cluster_agents import AgentUnderClock
from tests.many_applications import add_applications
from tests.postgresql import running_postgresql

_TURN_MS = 1.0
_BARE = Table(
    "bare",
    MetaData(),
    *(Column(name, Text, primary_key=name != "name") for name in ("namespace", "service_account", "name")),
    Column("ttl_seconds", Integer),
    Column("chain", Text),
    Column("signature", Text),
    Column("registered_at", Integer),
    Column("dns_names", Text),
)


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--names", default="0,1500,100000", help="registered before, with commas")
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    print(f"{arguments.store}, {arguments.calls} calls, milliseconds")
    print(f"{'names':>8}{'insert':>9}{'register':>10}{'p99':>8}{'ratio':>7}{'loop held':>11}")
    for names in map(int, arguments.names.split(",")):
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vanadium-bench-")))
            url = f"sqlite:///{directory / 'store.sqlite3'}"
            if arguments.store == "postgresql":
                url = stack.enter_context(running_postgresql(survives_power_cut=True)).new_database()
            asyncio.run(_measure(AgentUnderClock(directory, url), names, arguments.calls))


async def _measure(agent: AgentUnderClock, names: int, calls: int) -> None:
    add_applications(agent, names)
    _BARE.create(agent.store._access.database.writing)
    chief, held = agent.administrator(), _Held()

    async def insert_bare(number: int) -> None:
        made = Registration(_application(number), _name(number), None, None)
        row = {**asdict(made.row(agent.room.issuing, agent.clock())), "registered_at": 0}
        await agent.store._access.write(lambda connection: connection.execute(insert(_BARE), row))

    async def register(number: int) -> None:
        await agent.registrar.register(chief, _application(number % 20), str(_name(number)), None, None)

    bare, registered = [], []
    watching = asyncio.create_task(held.watch())
    # In turns: what slows the machine down for some seconds slows down both.
    for number in range(calls):
        bare.append(await _milliseconds(insert_bare, number))
        held.watching = True
        registered.append(await _milliseconds(register, number))
        held.watching = False
    watching.cancel()
    middle, beside = statistics.median(registered), statistics.median(bare)
    slow = statistics.quantiles(registered, n=100)[98]
    print(
        f"{names:>8}{beside:>9.2f}{middle:>10.2f}{slow:>8.2f}{middle / beside:>7.1f}{held.longest_ms:>11.2f}"
    )
    await agent.store.close()


class _Held:
    """By how much the event loop was late with a turn at most, while `watching`."""

    def __init__(self) -> None:
        self.watching = False
        self.longest_ms = 0.0

    async def watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_TURN_MS / 1000)
            if self.watching:
                late = (time.perf_counter() - began) * 1000 - _TURN_MS
                self.longest_ms = max(self.longest_ms, late)


async def _milliseconds(call: Callable[[int], Awaitable[None]], number: int) -> float:
    began = time.perf_counter()
    await call(number)
    return (time.perf_counter() - began) * 1000


def _application(number: int) -> Application:
    return Application("shop", f"web-{number}")


def _name(number: int) -> Name:
    return Name.parse(f"acme:prod:Web{number}")


if __name__ == "__main__":
    main()
