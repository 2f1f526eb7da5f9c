"""`python -m vkube.runner`: a node of a real cluster whose Pods are processes of this machine."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from kubernetes import client, config
from kubernetes.config import ConfigException

from vkube.runner.api_client import TypedApiClient
from vkube.runner.errors import RunnerError
from vkube.runner.kubernetes_node import KubernetesNode
from vkube.runner.kubernetes_resources import KubernetesResources
from vkube.runner.node import Node
from vkube.runner.pod import Surroundings


def main() -> int:
    arguments = _arguments()
    try:
        asyncio.run(_run(arguments))
    except (RunnerError, ConfigException) as error:
        sys.stderr.write(f"vkube.runner: {error}\n")
        return 1
    return 0


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    configuration = client.Configuration()
    config.load_kube_config(str(arguments.kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]  # it has no types
    api = TypedApiClient(configuration)
    surroundings = Surroundings(
        KubernetesResources(client.CoreV1Api(api)),
        images=dict(arguments.image),
        extra_environment=dict(arguments.environment),
    )
    with tempfile.TemporaryDirectory(prefix="vk-", ignore_cleanup_errors=True) as directory:
        async with KubernetesNode(api, arguments.node_name, Node(Path(directory), surroundings)).running():
            await stop.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vkube.runner", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--node-name", required=True)
    parser.add_argument(
        "--image",
        type=_image,
        action="append",
        default=[],
        metavar="IMAGE=COMMAND",
        help="what an image runs",
    )
    parser.add_argument(
        "--environment",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="for every process",
    )
    return parser.parse_args()


def _image(text: str) -> tuple[str, list[str]]:
    name, command = _pair(text)
    return name, shlex.split(command)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
