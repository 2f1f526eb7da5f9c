"""`vkube completion`."""

from __future__ import annotations

import argparse
import sys

from vkube.command_line.commands import Run
from vkube.command_line.completion import SCRIPTS


def completion(parser: argparse.ArgumentParser) -> Run:
    """Print the completion script for a shell; its first comment tells how to load it."""
    parser.add_argument("shell", choices=sorted(SCRIPTS))
    return _completion


def _completion(options: argparse.Namespace) -> None:
    sys.stdout.write(SCRIPTS[options.shell])
