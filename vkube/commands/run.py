"""`vkube run`: local mode."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shlex
import signal
import tempfile
from pathlib import Path

import structlog

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.errors import ManifestError
from vkube.local.cluster import LocalSettings, Started, local_cluster
from vkube.local.manifests import Manifests, read
from vkube.output.lines import note, result


def run(parser: argparse.ArgumentParser) -> Run:
    """Run plain manifests as local processes, through the real webhook, until Ctrl-C. The manifests' commands
    run as you, on your files."""
    parser.add_argument(
        "-f", "--filename", action="append", type=Path, required=True, help="manifests, YAML; repeatable"
    )
    parser.add_argument(
        "--name-prefix", default="local:dev", help="blessing prefix of every application (local:dev)"
    )
    parser.add_argument(
        "--ttl-seconds",
        type=shared.whole(300, 86400),
        default=3600,
        help="life of a replica certificate (3600)",
    )
    parser.add_argument(
        "--image", action="append", metavar="IMAGE=COMMAND", default=[], help="what an image runs; repeatable"
    )
    parser.add_argument("--python-path", default="", help="PYTHONPATH of the Pods' processes")
    return _run


def _run(options: argparse.Namespace) -> None:
    # A user of the terminal does not want the routine log lines of the services.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    settings = LocalSettings(
        name_prefix=options.name_prefix,
        ttl_seconds=options.ttl_seconds,
        images=dict(map(_image, options.image)),
        extra_environment={"PYTHONPATH": options.python_path} if options.python_path else {},
        on_line=lambda pod, container, line: result(f"{pod} {container} {line}"),
    )
    asyncio.run(_until_stopped(read(options.filename), settings))


async def _until_stopped(manifests: Manifests, settings: LocalSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for left_out in manifests.left_out:
        note(f"left out: {left_out}: local mode does not run it")
    with tempfile.TemporaryDirectory(prefix="vk-", ignore_cleanup_errors=True) as directory:
        async with local_cluster(Path(directory), settings) as cluster:
            for started in await cluster.apply(manifests):
                note(_line(started))
            note("Ctrl-C ends it.")
            await stop.wait()


def _line(started: Started) -> str:
    pod = started.pod
    did = (
        f"{len(started.admitted.patch)} changes by the webhook" if started.admitted.patch else "left as it is"
    )
    return f"{pod.namespace}/{pod.name} at {pod.ip}: {did}"


def _image(text: str) -> tuple[str, list[str]]:
    name, separator, command = text.partition("=")
    if not separator or not command.strip():
        raise ManifestError(f"--image expects IMAGE=COMMAND, got {text!r}")
    return name, shlex.split(command)
