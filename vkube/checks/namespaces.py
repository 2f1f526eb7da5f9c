"""Checks of the labelled namespaces: their Secrets, and their Pods."""

from __future__ import annotations

from vkube.admission.injected import is_injected
from vkube.checks.check import Check, Found, Problems, Verdict
from vkube.checks.facts import Facts
from webhook.layout import CONTAINER


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


def _is_running(pod: dict[str, object]) -> bool:
    status = pod.get("status")
    return isinstance(status, dict) and status.get("phase") in ("Pending", "Running")


CHECKS: tuple[Check, ...] = (
    Check("labelled namespaces have their Secret", _bootstrap),
    Check("service accounts have their credential", _credentials),
    Check("Pods of labelled namespaces have an identity", _without_identity),
    Check("pod agents have an identity", _waiting),
)
