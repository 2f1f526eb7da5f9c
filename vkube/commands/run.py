"""`vkube run`: local mode."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import signal
import tempfile
from pathlib import Path

import structlog

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.errors import ManifestError
from vkube.local.cluster import LocalSettings, Started
from vkube.local.installation import local_cluster
from vkube.local.manifests import Manifests, read
from vkube.output.lines import note, result, warning
from vkube.runner import RunningPod
from vkube.workloads.pod_state import summary


def run(parser: argparse.ArgumentParser) -> Run:
    """Run plain manifests as local processes, through the real webhook, until Ctrl-C, or until all Jobs and
    Pods have ended by themselves. The exit code is then that of the first container that failed.

    The manifests' commands run as you, on your files, and without a container around them: run only what you
    would start yourself."""
    shared.manifests(parser)
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
        "--image",
        action="append",
        metavar="IMAGE=COMMAND",
        default=[],
        help="what an image runs, named as in the manifest or without its tag; repeatable",
    )
    parser.add_argument("--python-path", default="", help="PYTHONPATH of the Pods' processes")
    return _run


def _run(options: argparse.Namespace) -> int:
    # A user of the terminal does not want the routine log lines of the services.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    seen: dict[str, str] = {}

    def changed(pod: RunningPod) -> None:
        name, state = f"{pod.namespace}/{pod.name}", summary(pod.status)
        if seen.get(name) != state:
            seen[name] = state
            note(f"{name}: {state}")

    settings = LocalSettings(
        name_prefix=options.name_prefix,
        ttl_seconds=options.ttl_seconds,
        images=dict(map(_image, options.image)),
        extra_environment=_python_path(options.python_path),
        on_line=lambda pod, container, line: result(f"{pod} {container} {line}"),
        on_start=_started,
        on_change=changed,
        on_note=note,
    )
    manifests = read(options.filename)
    if not manifests.workloads:
        raise ManifestError("nothing to run: there is no Pod, and no workload that makes one")
    return asyncio.run(_until_ended(manifests, settings))


async def _until_ended(manifests: Manifests, settings: LocalSettings) -> int:
    task = asyncio.create_task(_apply(manifests, settings))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 0  # the way to end what runs for ever


async def _apply(manifests: Manifests, settings: LocalSettings) -> int:
    for left_out in manifests.left_out:
        warning(f"left out: {left_out}: local mode does not run it")
    with tempfile.TemporaryDirectory(prefix="vk-", ignore_cleanup_errors=True) as directory:
        note("starting the cluster agent and the webhook")
        async with local_cluster(Path(directory), settings) as cluster:
            await cluster.apply(manifests)
            note("Ctrl-C ends it.")
            await cluster.finished()
            return cluster.exit_code()


def _started(started: Started) -> None:
    pod, patch = started.pod, started.admitted.patch
    did = f"{len(patch)} changes by the webhook" if patch else f"left as it is: {started.untouched}"
    note(f"{pod.namespace}/{pod.name} at {pod.ip}: {did}")
    for text in started.admitted.warnings:
        warning(f"{pod.namespace}/{pod.name}: {text}")


def _python_path(text: str) -> dict[str, str]:
    """PYTHONPATH with whole paths, because a Pod's working directory is its own."""
    return {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, text.split(os.pathsep)))} if text else {}


def _image(text: str) -> tuple[str, list[str]]:
    name, separator, command = text.partition("=")
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise ManifestError(f"--image {text!r}: {error}") from error
    if not separator or not name or not argv:
        raise ManifestError(f"--image expects IMAGE=COMMAND, got {text!r}")
    return name, argv
