"""Checks of the labelled namespaces: their Secrets, and their Pods."""

from __future__ import annotations

from typing import Any

from vkube.admission.injected import has_certificate, is_injected
from vkube.admission.namespace_annotations import objection, of, without_effect
from vkube.admission.waiting import Waiting
from vkube.admission.workloads import is_there
from vkube.checks.check import Check, Found, Problems, Verdict
from vkube.checks.facts import Facts
from webhook.delivery import Delivery
from webhook.layout import CONTAINER, DELIVERY_ANNOTATION

# As many namespaces are named.
_NAMED = 3


def _bootstrap(facts: Facts) -> Problems:
    for name, secret in facts.bootstrap.items():
        if secret is None:
            yield Found(
                f"{name} has no Secret vanadium-bootstrap", "its Pods wait: vkube logs webhook states why"
            )


def _credentials(facts: Facts) -> Problems:
    for name, secret in facts.bootstrap.items():
        have = (secret or {}).get("data") or {}
        missing = sorted(set(facts.service_accounts[name]) - set(have))
        if secret is not None and missing:
            listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            yield Found(
                f"{name} has no credential for {listed}", "vkube logs webhook states why", Verdict.WARN
            )


def _without_identity(facts: Facts) -> Problems:
    for name, pods in facts.applications.items():
        lacking = sum(not is_injected(one) for one in pods if _is_running(one))
        if lacking:
            yield Found(
                f"{lacking} Pods of {name} have no identity",
                f"vkube explain POD -n {name}; vkube restart {name}",
                Verdict.WARN,
            )


def _waiting(facts: Facts) -> Problems:
    for name, pods in facts.applications.items():
        for pod in pods:
            status = pod.get("status") or {}
            states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
            for one in states:
                if (
                    one.get("name") == CONTAINER
                    and not (one.get("ready") or one.get("started"))
                    and _is_running(pod)
                ):
                    title = pod["metadata"]["name"]
                    yield Found(
                        f"the pod agent of {name}/{title} has no identity yet",
                        f"vkube events {title} -n {name}",
                        Verdict.WARN,
                    )


def _is_running(pod: dict[str, Any]) -> bool:
    return is_there(pod) and (pod.get("status") or {}).get("phase") in ("Pending", "Running")


def _annotations(facts: Facts) -> Problems:
    for one in facts.namespaces:
        name = one["metadata"]["name"]
        if why := objection(one):
            yield Found(f"no Pod can be made in {name}: {why}", "correct it: kubectl annotate --overwrite")
        for text in without_effect(one):
            yield Found(f"{name}: {text}", "correct it", Verdict.WARN)


def _volumes(facts: Facts) -> Problems:
    """A namespace that asks for volumes, in a cluster that cannot have them everywhere."""
    why = facts.volumes.objection
    if why is None:
        return
    asking = [
        one["metadata"]["name"]
        for one in facts.namespaces
        if of(one).get(DELIVERY_ANNOTATION) == Delivery.VOLUME
    ]
    having = [name for name, pods in facts.applications.items() if any(has_certificate(one) for one in pods)]
    todo = f"{DELIVERY_ANNOTATION}: auto or sidecar, until it can (docs/pod-certificates.md)"
    if not facts.volumes.is_known:
        yield Found(why, "vkube check, as somebody who may list nodes", Verdict.SKIP)
    elif not asking and not having:
        yield Found(f"not now: {why}", "nothing, as long as no Pod asks for one", Verdict.SKIP)
    elif facts.volumes.impossible is not None:
        places = ", ".join(sorted({*asking, *having})[:_NAMED])
        yield Found(f"Pods of {places} ask for one, and {why}", todo)
    else:
        yield Found(f"not on each node: {why}", todo, Verdict.WARN)


def _waits(facts: Facts) -> Problems:
    for name, pods in facts.waiting.items():
        whys: dict[Waiting, list[str]] = {}
        for pod, waiting in pods.items():
            whys.setdefault(waiting, []).append(pod)
        for waiting, named in whys.items():
            more = f" and {len(named) - 1} more" if len(named) > 1 else ""
            yield Found(f"{name}/{named[0]}{more}: {waiting.why}", waiting.todo, Verdict.WARN)


CHECKS: tuple[Check, ...] = (
    Check("annotations of labelled namespaces", _annotations),
    Check("identities in volumes are possible", _volumes),
    Check("labelled namespaces have their Secret", _bootstrap),
    Check("service accounts have their credential", _credentials),
    Check("Pods of labelled namespaces have an identity", _without_identity),
    Check("pod agents have an identity", _waiting),
    Check("kubelets have a certificate for each volume", _waits),
)
