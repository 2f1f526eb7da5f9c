"""The program: finds the command, runs it, and turns errors into messages and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from service.errors import CallUnanswered, ServiceError
from service.version import VERSION
from vkube.command_line.commands import FAMILIES, Command, Run, all_commands, family, find
from vkube.command_line.exit_codes import ExitCode
from vkube.command_line.help import family_overview, overview
from vkube.command_line.options import BEFORE_THE_COMMAND
from vkube.errors import UsageError, VkubeError

_UNWRAPPED = 10_000
_FILE = "-f/--filename"
_AS_KUBECTL = ("get", "describe")


class HelpText(argparse.HelpFormatter):
    """Help as wide as the terminal; what is piped, to `grep` for instance, is not wrapped."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=None if sys.stdout.isatty() else _UNWRAPPED)


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line that tells where the options are explained."""

    _given: Sequence[str] = ()

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options. Those between two arguments do not divide these: which argument was left out is known
        at the end only."""
        self._given = arguments
        if any(one.nargs == argparse.REMAINDER for one in self._actions):
            return self.parse_args(arguments)
        return self.parse_intermixed_args(arguments)

    def error(self, message: str) -> NoReturn:
        if message.endswith(f"required: {_FILE}"):
            from vkube.workloads.sources import SUFFIXES  # takes long to import

            files = (one for one in self._given if one == "-" or one.endswith(SUFFIXES))
            message += next((f"; did you mean -f {one}?" for one in files), "")
        raise UsageError(f"{message} (see {self.prog} --help)")


def run(arguments: Sequence[str]) -> int:
    """Runs the command in `arguments`, and returns the exit code."""
    try:
        return _run(list(arguments))
    except (VkubeError, ServiceError) as error:
        sys.stderr.write(f"vkube: {error}\n")
        return _code(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # `vkube … | head` has read enough. Python would complain at its end, when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE


def parser_of(command: Command) -> tuple[Parser, Run]:
    """The parser of one command, and what it runs. Imports the command's module."""
    parser = Parser(prog=f"vkube {command.name}", allow_abbrev=False, formatter_class=HelpText)
    return parser, command.build(parser)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options that stand before the command, and the rest."""
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        option, separator, _ = arguments[position].partition("=")
        values = BEFORE_THE_COMMAND.get(option)
        if values is None:
            break
        position += 1 if separator else 1 + values
    return list(arguments[:position]), list(arguments[position:])


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["__complete"]:
        from vkube.command_line.completion import candidates

        sys.stdout.writelines(f"{line}\n" for line in candidates(arguments[1:]))
        return ExitCode.DONE
    early, words = split(arguments)
    match words:
        case [] | ["-h" | "--help" | "help"]:
            sys.stdout.write(overview())
            return ExitCode.DONE if words else ExitCode.WRONG_USAGE
        case ["--version" | "version"]:
            sys.stdout.write(f"vkube {VERSION}\n")
            return ExitCode.DONE
        case ["help", *rest]:
            words = [*rest, "--help"]
        case [option, *_] if option.startswith("-"):
            raise UsageError(f"{option}: expected a command first (see vkube --help)")
    command = find(words)
    if command is None:
        return _without_command(words)
    parser, do = parser_of(command)
    options = parser.parse([*early, *words[len(command.words) :]])
    return do(options) or ExitCode.DONE


def _without_command(words: Sequence[str]) -> int:
    first, rest = words[0], words[1:]
    if first in FAMILIES and (not rest or rest[0] in ("-h", "--help")):
        sys.stdout.write(family_overview(first))
        return ExitCode.DONE if rest else ExitCode.WRONG_USAGE
    known = (
        [one.words[1] for one in family(first)] if first in FAMILIES else [one.name for one in all_commands()]
    )
    given = rest[0] if first in FAMILIES else first
    close = get_close_matches(given, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    if not close and first in _AS_KUBECTL:
        others = f"{', '.join(known[:-1])} and {known[-1]}"
        meant = f"; there are {others}, and for other objects: kubectl {first} {given}"
    whole = f"{first} {given}" if first in FAMILIES else first
    raise UsageError(f"there is no command {whole!r}{meant} (see vkube --help)")


def _code(error: VkubeError | ServiceError) -> ExitCode:
    if isinstance(error, VkubeError):
        return error.exit_code
    return ExitCode.UNREACHABLE if isinstance(error, CallUnanswered) and error.is_away else ExitCode.FAILED
