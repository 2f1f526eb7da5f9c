"""The output of a command that fails."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from rich.console import Console
from rich.markup import escape

from service.errors import ServiceError
from vkube.errors import VkubeError

_Parameters = ParamSpec("_Parameters")
# `:cd:` is an emoji to rich, but here it is a part of a fingerprint or a name.
console = Console(highlight=False, emoji=False)


def complaining(command: Callable[_Parameters, None]) -> Callable[_Parameters, None]:
    """Wraps `command`: on an error it prints one line with the cause and exits with 1."""

    @functools.wraps(command)
    def run(*arguments: _Parameters.args, **keywords: _Parameters.kwargs) -> None:
        try:
            command(*arguments, **keywords)
        except (VkubeError, ServiceError) as error:
            console.print(f"[red]vkube: {escape(str(error))}[/red]", soft_wrap=True)
            sys.exit(1)

    return run
