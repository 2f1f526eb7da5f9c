"""`vkube kubectl` and `upgrade-cluster`: what is Kubernetes' own, with the cluster that vkube.cfg names."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from vkube.command_line.commands import Run
from vkube.command_line.exit_codes import ExitCode
from vkube.configuration import load
from vkube.errors import VkubeError

_CONTEXT = "--context"


def kubectl(parser: argparse.ArgumentParser) -> Run:
    """Run kubectl with the context of vkube.cfg in this directory: vkube kubectl get pods. All arguments are
    kubectl's; its exit code is the result."""
    # No argument is an option of vkube's: each is passed on as it is.
    parser.prefix_chars = "\0"
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="arguments of kubectl")

    def run(options: argparse.Namespace) -> int:
        if options.arguments[:1] in (["-h"], ["--help"]):
            parser.print_help()
            return ExitCode.DONE
        return _kubectl(options.arguments)

    return run


def upgrade_cluster(parser: argparse.ArgumentParser) -> Run:
    """State who upgrades Kubernetes itself: the provider of the cluster."""
    return _upgrade_cluster


def command_of(arguments: Sequence[str], context: str | None) -> list[str]:
    """The command line; `context` is vkube.cfg's, and one among the arguments goes before it."""
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    is_given = any(one == _CONTEXT or one.startswith(f"{_CONTEXT}=") for one in arguments)
    chosen = [] if context is None or is_given else [_CONTEXT, context]
    return ["kubectl", *chosen, *arguments]


def _kubectl(arguments: Sequence[str]) -> int:
    command = command_of(arguments, load(None).kubeconfig_context)
    try:
        if sys.platform == "win32":
            return subprocess.call(command)
        # In our place, so that a signal to vkube is one to kubectl: it may forward ports for hours.
        os.execvp(command[0], command)  # noqa: S606 - no shell, on purpose
    except FileNotFoundError as error:
        raise VkubeError(
            "there is no kubectl on PATH: install it (https://kubernetes.io/docs/tasks/tools/)"
        ) from error


def _upgrade_cluster(_: argparse.Namespace) -> int:
    raise VkubeError(
        "Kubernetes itself is upgraded by its provider: on GKE gcloud container clusters upgrade, on kind by "
        "a new cluster, elsewhere often kubeadm upgrade. Upgrade the product first, with kubectl apply -k "
        "deploy; the README states which versions of Kubernetes it supports"
    )
