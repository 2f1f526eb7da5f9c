"""The `vkube` command line."""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.markup import escape

from vkube import administer_commands, principal_commands
from vkube.complaints import console
from vkube.errors import ManifestError, VkubeError
from vkube.local.cluster import LocalSettings, Started, local_cluster
from vkube.local.manifests import Manifests, read

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Replica identity for Kubernetes.")

app.add_typer(principal_commands.app, name="principal")
administer_commands.add_to(app)


@app.command()
def run(
    files: Annotated[list[Path], typer.Option("--filename", "-f", help="manifests, YAML; repeatable")],
    name_prefix: Annotated[str, typer.Option(help="blessing prefix of every application")] = "local:dev",
    ttl_seconds: Annotated[
        int, typer.Option(help="life of a replica certificate", min=300, max=86400)
    ] = 3600,
    image: Annotated[
        list[str] | None, typer.Option(help="what an image runs: IMAGE=COMMAND; repeatable")
    ] = None,
    python_path: Annotated[str, typer.Option(help="PYTHONPATH of the Pods' processes")] = "",
) -> None:
    """Run plain manifests as local processes, through the real webhook, until Ctrl-C."""
    try:
        settings = LocalSettings(
            name_prefix=name_prefix,
            ttl_seconds=ttl_seconds,
            images=dict(_image(one) for one in image or []),
            extra_environment={"PYTHONPATH": python_path} if python_path else {},
            on_line=lambda pod, container, line: console.print(
                f"[dim]{escape(pod)} {escape(container)}[/dim] {escape(line)}"
            ),
        )
        asyncio.run(_run(read(files), settings))
    except VkubeError as error:
        console.print(f"[red]vkube: {escape(str(error))}[/red]")
        sys.exit(1)


async def _run(manifests: Manifests, settings: LocalSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for left_out in manifests.left_out:
        console.print(f"[yellow]left out: {escape(left_out)}: local mode does not run it[/yellow]")
    with tempfile.TemporaryDirectory(prefix="vk-", ignore_cleanup_errors=True) as directory:
        async with local_cluster(Path(directory), settings) as cluster:
            for started in await cluster.apply(manifests):
                console.print(_line(started))
            console.print("[dim]Ctrl-C ends it.[/dim]")
            await stop.wait()


def _line(started: Started) -> str:
    pod = started.pod
    did = (
        f"{len(started.admitted.patch)} changes by the webhook" if started.admitted.patch else "left as it is"
    )
    return f"[bold]{escape(pod.namespace)}/{escape(pod.name)}[/bold] at {pod.ip}: {did}"


def _image(text: str) -> tuple[str, list[str]]:
    name, separator, command = text.partition("=")
    if not separator or not command.strip():
        raise ManifestError(f"--image expects IMAGE=COMMAND, got {text!r}")
    return name, shlex.split(command)


def main() -> None:
    """Entry point of the `vkube` program."""
    # A user of the terminal does not want the routine log lines of the services.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    app()


if __name__ == "__main__":
    main()
