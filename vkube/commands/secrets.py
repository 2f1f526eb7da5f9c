"""`vkube create-secrets`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster import Cluster
from vkube.errors import MalformedManifest, ManifestError
from vkube.installation import control_plane
from vkube.installation.manifests import claims, rendered
from vkube.output.lines import note, result
from vkube.workloads.live import Resources, Target, apply
from vkube.workloads.sources import documents


def create_secrets(parser: argparse.ArgumentParser) -> Run:
    """Create the Secrets that nobody else makes. For an installation that is claimed, that is the claim code,
    which vkube start-cluster-agent makes too; in quick start there is none, because the webhook makes all
    others. With -f, Secrets of your own, from manifests that you decrypt into a pipe:
    gpg --decrypt secrets.gpg | vkube create-secrets -f -"""
    shared.cluster(parser)
    shared.namespace(parser)
    shared.manifests(parser, required=False)
    parser.add_argument(
        "--force-conflicts", action="store_true", help="take over fields that another program manages"
    )
    return _create


def _create(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        if options.filename:
            for one in _secrets(cluster, options.filename):
                apply(cluster, one, one.manifest, force=options.force_conflicts)
                result(f"{one.title}: applied")
            return
        if not claims(cluster.configuration):
            note(
                "nothing to do: the webhook makes the control plane's certificates and the Secret of each "
                "labelled namespace, and the cluster agent its keys"
            )
            return
        (namespace, *_) = control_plane.targets_of(cluster, rendered(cluster.configuration)[:1])
        control_plane.apply_all(cluster, [namespace], force=options.force_conflicts)
        if not control_plane.make_claim_code(cluster):
            note("nothing to do: the claim code is there")


def _secrets(cluster: Cluster, names: Sequence[str]) -> list[Target]:
    """Raises ManifestError, with nothing of the content in it; all are read before the first is applied."""
    resources = Resources(cluster)
    try:
        found = [resources.target(one, where) for where, one in documents(names)]
    except MalformedManifest as error:
        # What the parser expected may quote what it found.
        raise ManifestError(f"cannot read {error.place}: it is neither JSON nor YAML") from None
    for one in found:
        if (one.manifest["apiVersion"], one.manifest["kind"]) != ("v1", "Secret"):
            raise ManifestError(f"{one.where}: {one.title} is no Secret; vkube start takes workloads")
    return found
