"""`vkube start-cluster-agent`, `update-cluster-agent` and `stop-cluster-agent`: the control plane."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster import Cluster
from vkube.errors import ClusterError, ConflictError, NotFoundError
from vkube.installation import control_plane
from vkube.installation.manifests import (
    CLAIM,
    CLAIM_SECRET,
    CLUSTER_AGENT,
    DATA_CLAIM,
    NAME_PREFIX,
    Object,
    claims,
    environment_of,
    prefix_of,
    rendered,
)
from vkube.output.lines import note
from vkube.workloads.live import Target
from vkube.workloads.progress import Progress, progress_of
from vkube.workloads.rollout import roll_back, wait, wait_gone
from webhook.layout import SIGNER

_TRUST_BUNDLES = "/apis/certificates.k8s.io/v1/clustertrustbundles"
_KEYS = ("vanadium-control-plane-ca", "webhook-serving", "cluster-agent-serving")


def start_cluster_agent(parser: argparse.ArgumentParser) -> Run:
    """Install the control plane of vkube.cfg: namespace, webhook, cluster agent, their rights and policies.
    One that is running already is an error. With clusterAgent.admin under a root of yours, the cluster agent
    then waits for vkube claim-cluster-agent; else it makes a root of its own."""
    _applying(parser, "until webhook and cluster agent are ready, or the agent can be claimed")
    return _start


def update_cluster_agent(parser: argparse.ArgumentParser) -> Run:
    """Change the running control plane to what vkube.cfg and this version of vkube have: images, resources,
    administrators, rights, policies; and delete what another version of vkube installed and this one does not
    have. With --wait, a Deployment that makes no progress gets its previous Pod
    template back. Back up first: a newer cluster agent may change its store so that an older one does not
    start with it."""
    _applying(parser, "until webhook and cluster agent are rolled out; else roll back, and fail")
    return _update


def stop_cluster_agent(parser: argparse.ArgumentParser) -> Run:
    """Delete the control plane's programs, rights and policies. The namespace, the cluster agent's data and
    the Secrets stay, so vkube start-cluster-agent goes on with the same identities. With --delete-data they
    are deleted too."""
    shared.cluster(parser)
    parser.add_argument(
        "--delete-data",
        action="store_true",
        help="delete also the volume claim that vkube made with all identities, the Secrets in labelled "
        "namespaces, the ClusterTrustBundles, and the namespace if nothing else is in it",
    )
    shared.waiting(parser, "until their Pods, and a deleted namespace, are gone")
    return _stop


def _applying(parser: argparse.ArgumentParser, until: str) -> None:
    shared.cluster(parser)
    parser.add_argument(
        "--force-conflicts", action="store_true", help="take over fields that another program manages"
    )
    shared.waiting(parser, until)


def _start(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        objects = rendered(cluster.configuration)
        if (where := control_plane.running_in(cluster)) is not None:
            raise ConflictError(
                f"the control plane is already running in the namespace {where}, and a cluster has one: "
                "vkube update-cluster-agent changes it, vkube stop-cluster-agent ends it"
            )
        targets = control_plane.targets_of(cluster, objects)
        control_plane.check_ours(cluster, targets)
        first, *others = targets
        control_plane.apply_all(cluster, [first], force=options.force_conflicts)
        if claims(cluster.configuration):
            control_plane.make_claim_code(cluster)
        control_plane.apply_all(cluster, others, force=options.force_conflicts)
        control_plane.delete_programs(cluster, control_plane.superseded(cluster, targets))
        if options.wait:
            _wait(cluster, targets, options.wait_timeout)
        if claims(cluster.configuration):
            note("if it is not claimed yet: vkube claim-cluster-agent, with the root in $V23_CREDENTIALS")


def _update(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        targets = control_plane.targets_of(cluster, rendered(cluster.configuration))
        _check_running(cluster)
        control_plane.check_ours(cluster, targets)
        deployments = _deployments(targets)
        before = {one.path: cluster.find(one.path) for one in deployments}
        for live in before.values():
            if live is not None and live["metadata"]["name"] == CLUSTER_AGENT:
                _check_same_identity(cluster, live)
        control_plane.apply_all(cluster, targets, force=options.force_conflicts)
        if options.wait:
            _wait_or_roll_back(cluster, targets, before, options.wait_timeout)
        # After the rollout: what is rolled back may need it.
        control_plane.delete_programs(cluster, control_plane.superseded(cluster, targets))


def _stop(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        targets = control_plane.targets_of(cluster, rendered(cluster.configuration))
        _check_running(cluster, targets, data=options.delete_data)
        targets += control_plane.superseded(cluster, targets)
        pods = control_plane.delete_programs(cluster, targets)
        if options.wait or options.delete_data:
            # Until the webhook is gone, it makes again what is deleted.
            left = wait_gone(cluster, pods, options.wait_timeout)
            if left:
                raise ClusterError(f"after {options.wait_timeout} s there is still {', '.join(left)}")
        if options.delete_data:
            _delete_data(cluster, targets, options)
        else:
            note(
                f"kept: the namespace {cluster.system} with its Secrets, {_data(cluster)}, and the Secrets "
                "of labelled namespaces. No identity is lost: vkube start-cluster-agent goes on with them. "
                "Meanwhile running Pods keep theirs until it ends, and new Pods get none. --delete-data "
                "deletes all"
            )


def _check_running(cluster: Cluster, stopped: Sequence[Target] = (), *, data: bool = False) -> None:
    """Raises NotFoundError unless the control plane is in the namespace of vkube.cfg.

    What an interrupted stop left of `stopped` is enough, and with `data` what a whole one left.
    """
    where = control_plane.running_in(cluster)
    if where == cluster.system:
        return
    if where is None and control_plane.is_any_left(cluster, stopped):
        return
    if where is None and data and (_namespace(cluster) or control_plane.bootstrap_secrets(cluster)):
        return
    if where is None:
        raise NotFoundError(
            f"the control plane is not running in context {cluster.context}: vkube start-cluster-agent "
            "starts it"
        )
    raise NotFoundError(
        f"the control plane is not running in the namespace {cluster.system}, but in {where}: that is "
        "clusterAgent.namespace for vkube.cfg"
    )


def _check_same_identity(cluster: Cluster, live: Object) -> None:
    """Raises ConflictError where the cluster agent would refuse to start with the store that it has."""
    deployed, chosen = environment_of(live), prefix_of(cluster.configuration)
    said = "That is chosen before the first start. To begin anew: vkube stop-cluster-agent --delete-data"
    if deployed.get(NAME_PREFIX) != chosen:
        raise ConflictError(
            f"the name prefix is {deployed.get(NAME_PREFIX)} in the cluster, and {chosen} by vkube.cfg "
            f"(clusterAgent.blessing). {said}"
        )
    if (deployed.get(CLAIM) == "required") != claims(cluster.configuration):
        raise ConflictError(
            "clusterAgent.admin decides whether an administrator claims the cluster agent, or it makes a "
            f"root of its own, and in the cluster it is the other one. {said}"
        )


def _wait(cluster: Cluster, targets: Sequence[Target], seconds: int) -> None:
    claimed = claims(cluster.configuration)

    def judged(live: Object) -> Progress:
        if claimed and live["metadata"]["name"] == CLUSTER_AGENT:
            return control_plane.waiting_for_a_claim(cluster, live)
        return progress_of(live)

    wait(cluster, _deployments(targets), seconds, judged)


def _wait_or_roll_back(
    cluster: Cluster, targets: Sequence[Target], before: Mapping[str, Object | None], seconds: int
) -> None:
    """Raises ClusterError after it has rolled back. `before` are the Deployments as they were."""
    try:
        _wait(cluster, targets, seconds)
    except ClusterError as error:
        back = [
            one.title
            for one in _deployments(targets)
            if (live := before[one.path]) is not None
            and _is_changed(cluster, one, live)
            and roll_back(cluster, one, {**live, "kind": "Deployment"})
        ]
        if not back:
            raise
        raise ClusterError(f"{error}. Rolled back to the previous Pod template: {', '.join(back)}") from error


def _deployments(targets: Sequence[Target]) -> list[Target]:
    return [one for one in targets if one.manifest["kind"] == "Deployment"]


def _is_changed(cluster: Cluster, target: Target, before: Object) -> bool:
    template = cluster.get(target.path)["spec"]["template"]
    return bool(template != before["spec"]["template"])


def _data(cluster: Cluster) -> str:
    agent = cluster.configuration.cluster_agent
    if agent.persistent_disk is not None:
        return f"the persistent disk {agent.persistent_disk}"
    return f"the PersistentVolumeClaim {agent.persistent_volume_claim or DATA_CLAIM}"


def _delete_data(cluster: Cluster, targets: Sequence[Target], options: argparse.Namespace) -> None:
    control_plane.delete_secrets(cluster, control_plane.bootstrap_secrets(cluster))
    secrets_path = f"/api/v1/namespaces/{cluster.system}/secrets"
    found = [cluster.find(f"{secrets_path}/{name}") for name in (*_KEYS, CLAIM_SECRET)]
    control_plane.delete_secrets(cluster, [one for one in found if one is not None])
    namespace, *claims_made = (one for one in targets if one.manifest["kind"] in control_plane.KEPT)
    claim = next(iter(claims_made), None)
    if claim is None:
        note(f"{_data(cluster)} stays, with all identities: vkube did not make it")
    else:
        control_plane.delete(cluster, claim.path, claim.title, cluster.find(claim.path))
        note(
            "lost: the root, names and revocations of the cluster agent. Certificates that it issued stay "
            "valid until they end"
        )
    # The cluster agent made them, where the API server has such objects.
    selection = {"fieldSelector": f"spec.signerName={SIGNER}"}
    bundles = cluster.items(_TRUST_BUNDLES, **selection) if cluster.find(_TRUST_BUNDLES) else ()
    for bundle in tuple(bundles):
        name = bundle["metadata"]["name"]
        control_plane.delete(cluster, f"{_TRUST_BUNDLES}/{name}", f"ClusterTrustBundle {name}", bundle)
    live = cluster.find(namespace.path)
    left = control_plane.content(cluster, cluster.system) if live is not None else []
    left = [one for one in left if claim is None or one != claim.title]
    if left:
        note(f"Namespace {cluster.system} stays: there is {', '.join(left[:10])}")
        return
    control_plane.delete(cluster, namespace.path, namespace.title, live)
    if options.wait:
        _wait_for_the_end(cluster, options.wait_timeout)


def _namespace(cluster: Cluster) -> Object | None:
    return cluster.find(f"/api/v1/namespaces/{cluster.system}")


def _wait_for_the_end(cluster: Cluster, seconds: int) -> None:
    ends_at = time.monotonic() + seconds
    while (live := _namespace(cluster)) is not None:
        if time.monotonic() > ends_at:
            reasons = [str(one.get("message")) for one in (live.get("status") or {}).get("conditions") or []]
            raise ClusterError(f"Namespace {cluster.system} is still there: {'; '.join(reasons) or 'ending'}")
        time.sleep(1)
