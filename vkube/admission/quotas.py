"""The ResourceQuotas of a namespace: which have no room for what the injection adds.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from vkube.admission.pod_resources import Amounts, Object, containers, has_own, shown, stated, taken
from vkube.admission.quota_scopes import counts
from webhook import quantities
from webhook.layout import BOOTSTRAP_SECRET

_REQUESTED = ("cpu", "memory", "ephemeral-storage")
# A container may not leave these open where a quota counts them.
_DEMANDED = {f"{field}{resource}" for field in ("", "requests.", "limits.") for resource in ("cpu", "memory")}
_SECRETS = ("secrets", "count/secrets")
_CERTIFICATE_REQUESTS = "count/podcertificaterequests.certificates.k8s.io"


class Change(NamedTuple):
    """A Pod as it runs, and as it would be with an identity, both as the API server completes them."""

    before: Object
    after: Object
    by_volume: bool = False


def counts_secrets(quotas: Iterable[Object]) -> bool:
    """Whether one of the quotas counts Secrets."""
    return any(key in _SECRETS for quota in quotas for key in _hard(quota))


def beyond_quotas(changes: Sequence[Change], quotas: Iterable[Object], *, has_secret: bool) -> list[str]:
    """Which quotas refuse some of what labelling the namespace adds: more resources of its Pods, Pods that
    are no longer BestEffort, the Secret (unless it is there), and requests for certificates."""
    return [
        f"ResourceQuota {quota['metadata']['name']}: {why}"
        for quota in quotas
        for why in (*_full(quota, changes, has_secret), *_demanding(quota, changes))
    ]


def _full(quota: Object, changes: Sequence[Change], has_secret: bool) -> Iterator[str]:
    more: Amounts = {}
    changed = 0
    for one in changes:
        before, after = (_usage(pod) if counts(quota, pod) else {} for pod in (one.before, one.after))
        difference = {key: amount - before.get(key, Fraction(0)) for key, amount in after.items()}
        changed += any(amount > 0 for key, amount in difference.items() if key in _hard(quota))
        for key, amount in difference.items():
            more[key] = more.get(key, Fraction(0)) + amount
    needs = {key: (f"{_pods(changed)} with the pod agent", amount) for key, amount in more.items()}
    if not has_secret:
        needs |= {key: (f"the Secret {BOOTSTRAP_SECRET}", Fraction(1)) for key in _SECRETS}
    asking = sum(one.by_volume for one in changes)
    needs[_CERTIFICATE_REQUESTS] = (f"requests for certificates of {_pods(asking)}", Fraction(asking))
    for key in _hard(quota):
        who, needed = needs.get(key, ("", Fraction(0)))
        left = _left(quota, key)
        if needed > 0 and needed > left:
            yield f"{shown(needed)} more of {key} is needed for {who}, and {shown(left)} is left"


def _pods(number: int) -> str:
    return "1 Pod" if number == 1 else f"{number} Pods"


def _demanding(quota: Object, changes: Sequence[Change]) -> Iterator[str]:
    specs = [one.after for one in changes if counts(quota, one.after) and not has_own(one.after)]
    for key in sorted(_DEMANDED & set(_hard(quota))):
        field, _, resource = key.rpartition(".")
        silent = {
            one["name"]
            for pod in specs
            for one in containers(pod)
            if resource not in stated(one, field or "requests")
        }
        if silent:
            yield f"it demands {key} of every container, and {', '.join(sorted(silent))} states none"


def _hard(quota: Object) -> Mapping[str, str]:
    return (quota.get("status") or {}).get("hard") or quota["spec"].get("hard") or {}


def _left(quota: Object, key: str) -> Fraction:
    used = ((quota.get("status") or {}).get("used") or {}).get(key, "0")
    return max(quantities.parse(_hard(quota)[key]) - quantities.parse(used), Fraction(0))


def _usage(pod: Object) -> Amounts:
    """What a quota that counts the Pod counts of it."""
    requests, limits = taken(pod, "requests"), taken(pod, "limits")
    overhead = {
        name: quantities.parse(str(value)) for name, value in (pod["spec"].get("overhead") or {}).items()
    }
    for name, value in overhead.items():
        requests[name] = requests.get(name, Fraction(0)) + value
        if limits.get(name):
            limits[name] += value
    return {
        "pods": Fraction(1),
        "count/pods": Fraction(1),
        **{name: amount for name, amount in requests.items() if name in _REQUESTED},
        **{f"requests.{name}": amount for name, amount in requests.items()},
        **{f"limits.{name}": amount for name, amount in limits.items() if name in _REQUESTED},
    }
