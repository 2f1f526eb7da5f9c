"""`vkube build-images` and `push-images`."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vkube import images
from vkube.command_line.commands import Run
from vkube.configuration import load
from vkube.errors import UsageError, VkubeError
from vkube.output.lines import note, result


def build_images(parser: argparse.ArgumentParser) -> Run:
    """Build the images of cluster agent, pod agent and webhook, under the names that vkube.cfg has, with
    docker, podman or buildah, the first that works here. What stands after -- is passed to its build command:
    vkube build-images -- --platform linux/amd64"""
    parser.add_argument(
        "--source",
        type=Path,
        metavar="DIRECTORY",
        help="checkout of Vanadium Cluster; by default this directory, or the one that vkube runs from",
    )
    parser.add_argument("--push", action="store_true", help="push each image when all are built")
    _arguments(parser, "build")
    return _build


def push_images(parser: argparse.ArgumentParser) -> Run:
    """Push the images that vkube.cfg names, with docker, podman or buildah: log in with it first. What stands
    after -- is passed to its push command."""
    _arguments(parser, "push")
    return _push


def _arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="vkube.cfg; by default the one in this directory"
    )
    parser.add_argument("--tool", choices=images.TOOLS, help="by default the first that works here")
    parser.add_argument(
        "further",
        nargs=argparse.REMAINDER,
        metavar="[-- ARGUMENTS]",
        help=f"arguments of the tool's {command}",
    )


def _build(options: argparse.Namespace) -> None:
    wanted = images.images(load(options.config))
    if options.push:
        images.check_published(wanted)
    source, further = images.sources(options.source), _further(options)
    tool = images.usable_tool(options.tool)
    for one in wanted:
        _run(images.build_command(tool, one, source, further))
        result(f"{one.reference}: built")
    if options.push:
        _push_all(tool, wanted, [])


def _push(options: argparse.Namespace) -> None:
    wanted, further = images.images(load(options.config)), _further(options)
    images.check_published(wanted)
    _push_all(images.usable_tool(options.tool), wanted, further)


def _further(options: argparse.Namespace) -> list[str]:
    begun, further = options.further[:1], options.further[1:]
    if begun not in ([], ["--"]):
        raise UsageError(f"unexpected argument {begun[0]!r}; what is for the tool itself stands after --")
    return list(further)


def _push_all(tool: str, wanted: Sequence[images.Image], further: Sequence[str]) -> None:
    for one in wanted:
        _run(images.push_command(tool, one, further))
        result(f"{one.reference}: pushed")


def _run(command: Sequence[str]) -> None:
    """With its output on our standard error: ours has the results."""
    note(f"$ {' '.join(command)}")
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, check=False)
    if ended.returncode != 0:
        raise VkubeError(f"{' '.join(command[:2])} failed (exit {ended.returncode}); its message is above")
