"""What the commands for keys in phases have in common: they administer, and print the phases afterwards."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster_agent import ClusterAgent, administering
from vkube.output.documents import document

Do = Callable[[ClusterAgent, argparse.Namespace], Any]


def declare(parser: argparse.ArgumentParser, do: Do, shown: Callable[[Any], str]) -> Run:
    """A command that does `do` and prints its answer: by `shown` as a table, else in the format of -o."""
    shared.output(parser)
    shared.cluster_agent(parser)

    def run(options: argparse.Namespace) -> None:
        with administering(options) as agent:
            answer = do(agent, options)
        text = document(answer, options.output)
        sys.stdout.write(shown(answer) if text is None else text)

    return run
