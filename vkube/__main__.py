"""The `vkube` command line."""

from __future__ import annotations

import sys

from vkube.command_line.program import run


def main() -> None:
    """Entry point of the `vkube` program; the exit codes are in `vkube.command_line.exit_codes`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
