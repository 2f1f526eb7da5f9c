"""The LimitRanges of a namespace: what they write into its Pods, and which Pods they refuse.

https://kubernetes.io/docs/concepts/policy/limit-range/
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vkube.admission.pod_resources import Amounts, Object, containers, shown, stated, taken
from webhook import quantities

_DEFAULTS = {"limits": "default", "requests": "defaultRequest"}


def defaulted(pod: Object, limit_ranges: Iterable[Object]) -> dict[str, Any]:
    """A copy of the Pod with what the API server fills in: a request that is not stated is the limit, and the
    defaults of the LimitRanges take the place of what is then missing. It does so before it asks a webhook,
    and once more about what the webhook added."""
    filled = copy.deepcopy(dict(pod))
    for one in containers(filled):
        resources = one["resources"] = one.get("resources") or {}
        for field in _DEFAULTS:
            resources[field] = resources.get(field) or {}
        resources["requests"] = {**resources["limits"], **resources["requests"]}
        for limit in _limits(limit_ranges, "Container"):
            for field, default in _DEFAULTS.items():
                resources[field] = {**(limit.get(default) or {}), **resources[field]}
    return filled


def beyond_limit_ranges(pod: Object, limit_ranges: Iterable[Object]) -> list[str]:
    """Why a LimitRange refuses the Pod, which is one that the API server completed."""
    found: list[str] = []
    for one in limit_ranges:
        name = one["metadata"]["name"]
        for limit in _limits([one], "Container"):
            for each in containers(pod):
                what = f"container {each['name']}"
                found += _beyond(name, limit, what, stated(each, "requests"), stated(each, "limits"))
        for limit in _limits([one], "Pod"):
            found += _beyond(name, limit, "Pod", taken(pod, "requests"), taken(pod, "limits"))
    return found


def _limits(limit_ranges: Iterable[Object], kind: str) -> Iterator[Mapping[str, Any]]:
    for one in limit_ranges:
        yield from (limit for limit in one["spec"].get("limits") or [] if limit["type"] == kind)


def _beyond(name: str, limit: Object, what: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    by_field = {"requests": requests, "limits": limits}
    # A request is demanded where there is a least, and a limit where there is a most.
    for bound, demanded in (("min", "requests"), ("max", "limits")):
        for resource, value in (limit.get(bound) or {}).items():
            allowed = quantities.parse(str(value))
            if resource not in by_field[demanded]:
                yield f"LimitRange {name}: {what} states no {demanded}.{resource}, whose {bound} is {value}"
            for field, amounts in by_field.items():
                amount = amounts.get(resource, allowed)
                if amount > allowed if bound == "max" else amount < allowed:
                    which = f"{field}.{resource} of {what} is {shown(amount)}"
                    yield f"LimitRange {name}: {which}, and its {bound} {value}"
    for resource, value in (limit.get("maxLimitRequestRatio") or {}).items():
        asked, most = requests.get(resource), limits.get(resource)
        if not asked or not most:
            yield (
                f"LimitRange {name}: {what} states no requests.{resource} and limits.{resource}, "
                f"which may be {value} times as much"
            )
        elif most / asked > quantities.parse(str(value)):
            yield (
                f"LimitRange {name}: the {resource} limit of {what} is {float(most / asked):g} times its "
                f"request, and may be {value} times"
            )
