"""The table of commands. A command is a function `(parser) -> run`: it adds its arguments to the parser, and
returns the function that runs with the parsed options. The function's docstring is the command's description.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

Run = Callable[[argparse.Namespace], int | None]
"""What a command does with its options; returns an exit code, or None for 0."""


@dataclass(frozen=True)
class Command:
    """One row: the words that call the command, where its function is (`module:function`), and a summary."""

    words: tuple[str, ...]
    target: str
    summary: str

    @property
    def name(self) -> str:
        return " ".join(self.words)

    def build(self, parser: argparse.ArgumentParser) -> Run:
        """Imports the command, and adds its arguments to `parser`."""
        module, _, function = self.target.partition(":")
        declare: Callable[[argparse.ArgumentParser], Run] = getattr(import_module(module), function)
        parser.description = " ".join((declare.__doc__ or self.summary).split())
        return declare(parser)


def _command(words: str, target: str, summary: str) -> Command:
    return Command(tuple(words.split()), f"vkube.commands.{target}", summary)


GROUPS: dict[str, tuple[Command, ...]] = {
    "Workloads": (
        _command("start", "start:start", "Create workloads whose Pods have an identity"),
        _command("update", "start:update", "Change running workloads; roll back without progress"),
        _command("stop", "start:stop", "Delete workloads, and forget their names"),
    ),
    "What is there": (
        _command("status", "status:status", "Show who has an identity, for how long, and who lacks one"),
        _command("dashboard", "dashboard:dashboard", "Serve a page that shows it, kept up to date"),
        _command("check", "check:check", "Check the cluster and the installation, with what to do"),
        _command("get replicas", "get:get_replicas", "List the live replicas"),
        _command("get applications", "get:get_applications", "List the registered applications"),
        _command("get secrets", "get:get_secrets", "List the bootstrap credentials"),
        _command("get revocations", "get:get_revocations", "List what is revoked"),
        _command("describe replica", "describe:replica", "Show one live replica"),
        _command("describe application", "describe:application", "Show one application with its replicas"),
        _command("describe secret", "describe:secret", "Show one bootstrap credential with its replicas"),
        _command("describe revocation", "describe:revocation", "Show one revocation, and what ends it"),
        _command("events", "events:events", "Show the way of a Pod to its identity, step by step"),
        _command("logs", "logs:logs", "Print the log of a part of the product"),
        _command("audit", "audit:audit", "Search the audit: who did what, and when"),
        _command("audit verify", "audit_verify:verify", "Verify that the audit is as it was written"),
        _command("secrets", "get:get_secrets", "List the bootstrap credentials, as get secrets"),
    ),
    "Into Pods": (
        _command("explain", "explain:explain", "Show what the webhook does to a Pod, why, and what to do"),
        _command("inject", "explain:inject", "Print manifests with the pod agent in them"),
        _command("preflight", "preflight:preflight", "Show what labelling a namespace would do"),
        _command("restart", "preflight:restart", "Roll the workloads whose Pods lack an identity"),
    ),
    "What ends early": (
        _command("revoke", "revoke:revoke", "End certificates early, of a replica, secret or application"),
        _command("reinstate", "revoke:reinstate", "Let a revoked application have secrets again"),
        _command("forget", "revoke:forget", "Stop issuing and renewing under a secret"),
    ),
    "The control plane": (
        _command(
            "start-cluster-agent", "cluster_agent:start_cluster_agent", "Install webhook and cluster agent"
        ),
        _command(
            "update-cluster-agent", "cluster_agent:update_cluster_agent", "Change them to what vkube.cfg has"
        ),
        _command("stop-cluster-agent", "cluster_agent:stop_cluster_agent", "Delete them; their data stays"),
        _command(
            "claim-cluster-agent", "claim:claim_cluster_agent", "Claim a cluster agent, once, with your root"
        ),
        _command("create-secrets", "secrets:create_secrets", "Create the Secrets that nobody else makes"),
        _command("update-config", "config:update_config", "Write images into vkube.cfg"),
        _command("build-images", "images:build_images", "Build the images with docker, podman or buildah"),
        _command("build-docker-images", "images:build_images", "Build the images, as build-images"),
        _command("push-images", "images:push_images", "Push the images that vkube.cfg names"),
    ),
    "Roots": (
        _command("roots status", "roots:status", "Show the identity roots and their phases"),
        _command("roots prepare", "roots:prepare", "Make the next root"),
        _command("roots activate", "roots:activate", "Sign with a prepared root"),
        _command("roots retire", "roots:retire", "Stop recognising a root"),
        _command("bundle export", "bundle:export", "Print the roots, for verifiers elsewhere"),
        _command("bundle import", "bundle:import_bundle", "Let a principal recognise another trust domain"),
        _command("bundle add", "bundle:add", "Give replicas the bundle of another trust domain"),
        _command("bundle remove", "bundle:remove", "Remove the bundle of another trust domain"),
        _command("bundle list", "bundle:list_bundles", "List the bundles of other trust domains"),
        _command("jwt-keys status", "jwt_keys:status", "Show the keys of JWT-SVIDs and their phases"),
        _command("jwt-keys rotate", "jwt_keys:rotate", "Prepare the next key of JWT-SVIDs"),
    ),
    "Servers": (
        _command("identify", "identify:identify", "Show what a TLS server presents and proves"),
        _command("signature", "signature:signature", "Show the interface that a server offers"),
    ),
    "Names and administration": (
        _command("register", "registry:register", "Choose an application's name"),
        _command(
            "unregister", "registry:unregister", "Let an application's name follow from its namespace again"
        ),
        _command("applications", "registry:applications", "List the registered applications"),
    ),
    "Credentials": (
        _command("principal create", "principal:create", "Make a new principal; with a NAME, a root"),
        _command("principal dump", "principal:dump", "Show a principal's key, blessings and roots"),
        _command(
            "principal public-key", "principal:public_key", "Print the public key, for another to bless"
        ),
        _command("principal bless", "principal:bless", "Name another principal's key, offline"),
        _command("principal set-default", "principal:set_default", "Make a blessing the one to present"),
    ),
    "Data": (
        _command("backup", "backup:backup", "Copy the cluster agent's keys and store, while it runs"),
        _command("restore", "backup:restore", "Replace them by a backup; what was revoked since stays so"),
    ),
    "Kubernetes": (
        _command("kubectl", "kubernetes:kubectl", "Run kubectl with the cluster of vkube.cfg"),
        _command("upgrade-cluster", "kubernetes:upgrade_cluster", "State who upgrades Kubernetes itself"),
    ),
    "On this machine": (
        _command("run", "run:run", "Run plain manifests as local processes, through the real webhook"),
        _command("completion", "completion:completion", "Print the completion script for bash, zsh or fish"),
    ),
}
FAMILIES = {
    "audit": "The audit: who did what, and whether it is as it was written",
    "get": "List replicas, applications, secrets, revocations",
    "describe": "Show one replica, application, secret or revocation",
    "bundle": "The roots as a file, and those of other trust domains",
    "jwt-keys": "The keys of JWT-SVIDs: status, rotate",
    "roots": "The identity roots: status, prepare, activate, retire",
    "principal": "Principals: a key and its blessings, in a directory",
}
"""Summaries of the first words that several commands share."""


def all_commands() -> list[Command]:
    """Every command, in the order of the table."""
    return [command for commands in GROUPS.values() for command in commands]


def find(words: Sequence[str]) -> Command | None:
    """The command that `words` begins with; None when there is none."""
    fitting = [one for one in all_commands() if tuple(words[: len(one.words)]) == one.words]
    return max(fitting, key=lambda one: len(one.words), default=None)


def family(first: str) -> list[Command]:
    """The commands of several words that begin with `first`."""
    return [one for one in all_commands() if one.words[0] == first and len(one.words) > 1]
