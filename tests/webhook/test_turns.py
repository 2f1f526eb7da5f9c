"""Large bodies are answered one in a turn of the event loop."""

from __future__ import annotations

import asyncio
from functools import partial

from tests.waiting import until
from webhook.turns import Turns


async def test_there_is_a_turn_for_others_between_two_and_api_servers_come_first() -> None:
    turns, done = Turns(), list[str]()
    for name in ("a", "b"):
        turns.add(partial(done.append, name), for_api_server=False)
    turns.add(partial(done.append, "api server"), for_api_server=True)
    lengths = []
    while len(done) < 3:
        await asyncio.sleep(0)
        lengths.append(len(done))
    assert done == ["api server", "a", "b"]
    assert {1, 2} < set(lengths)


async def test_an_error_costs_only_its_own_turn() -> None:
    turns, done = Turns(), list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: done.append(context["message"]))
    turns.add(lambda: [][0], for_api_server=False)
    turns.add(partial(done.append, "next"), for_api_server=False)
    await until("the next one's turn", lambda: "next" in done)
    turns.add(partial(done.append, "later"), for_api_server=False)
    await until("a later one's turn", lambda: "later" in done)
