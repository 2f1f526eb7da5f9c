"""An explanation of one admission, as data and for people."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from vkube.admission.advice import advice
from vkube.admission.injected import has_volume
from vkube.admission.judgement import Judgement, Object
from vkube.admission.pod_security import LEVELS, violations
from vkube.admission.templates import Template
from vkube.admission.waiting import Waiting
from vkube.output.documents import as_yaml
from vkube.output.fields import fields

# As many Pods are named; all of them are in the document.
_NAMED = 3


def explanation(
    template: Template,
    judgement: Judgement,
    unasked: str | None,
    missed: Sequence[str] = (),
    waits: Mapping[str, Waiting] = MappingProxyType({}),
    others: Sequence[Object] = (),
) -> dict[str, Any]:
    """The whole explanation. `unasked` is why the webhook is not called for the Pod; None when it is.
    `missed` are the names of the subject's Pods in the cluster that lack the pod agent, `waits` those that
    wait for a certificate, and `others` the Pods that have another delivery than new ones would."""
    identity = judgement.served and unasked is None and not missed and not waits
    todo = advice(judgement.reason)
    if judgement.served and unasked is not None:
        todo = unasked
    elif judgement.served and missed:
        todo = _create_again(template, missed)
    elif waits:
        todo = "; ".join(dict.fromkeys(one.todo for one in waits.values()))
    elif judgement.served and unasked is None and others:
        names = [str(one["metadata"]["name"]) for one in others]
        has, gets = ("volume", "pod agent") if has_volume(others[0]) else ("pod agent", "volume")
        todo = (
            f"nothing, to keep the {has} of {_several(names)}; for the {gets} that new Pods get: vkube "
            f"restart {template.namespace} --outdated"
        )
    return {
        "subject": template.title,
        "identity": identity,
        "called": unasked is None,
        "notCalledBecause": unasked,
        "outcome": judgement.outcome,
        "reason": judgement.reason.value,
        "message": judgement.message,
        "warnings": list(judgement.warnings),
        "podsWithoutPodAgent": list(missed),
        "podsOfOtherDelivery": [one["metadata"]["name"] for one in others],
        "podsThatWait": [{"pod": name, "why": one.why, "whatToDo": one.todo} for name, one in waits.items()],
        "whatToDo": todo,
        "podSecurity": {
            level: {
                "asWritten": violations(judgement.pod, level),
                "withPodAgent": violations(judgement.patched, level),
            }
            for level in LEVELS
        },
        "patch": judgement.patch,
        "difference": difference(judgement),
    }


def _create_again(template: Template, missed: Sequence[str]) -> str:
    command = f"vkube restart {template.namespace}"
    cause = "created before the namespace was labelled, or while the webhook was away"
    if template.kind == "Pod":
        return f"create it again ({command}): it was {cause}"
    return f"create its Pods again ({command}): {_several(missed)} lack it, {cause}"


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def difference(judgement: Judgement) -> str:
    """The patch as a unified difference of the Pod's YAML; empty without a patch."""
    before, after = (as_yaml(one).splitlines(keepends=True) for one in (judgement.pod, judgement.patched))
    return "".join(difflib.unified_diff(before, after, "as written", "as admitted", n=2))


def shown(one: dict[str, Any]) -> str:
    """The explanation, for people."""
    called = "yes" if one["called"] else f"no: {one['notCalledBecause']}"
    decision = one["outcome"] + (f", {one['message']}" if one["message"] else "")
    rows = [
        ("Subject", one["subject"]),
        ("Webhook called", called),
        ("Rule that matched", one["reason"]),
        ("Decision" if one["called"] else "It would say", decision),
        *(("Waits", f"{each['pod']}: {each['why']}") for each in one["podsThatWait"][:_NAMED]),
        ("What to do", one["whatToDo"]),
    ]
    rows += [("Warning", text) for text in one["warnings"]]
    for level, result in one["podSecurity"].items():
        rows.append((f"Pod Security {level}", _security(result)))
    return fields(rows) + (f"\n{one['difference']}" if one["difference"] else "")


def _security(result: dict[str, list[str]]) -> str:
    before, after = result["asWritten"], result["withPodAgent"]
    added = [one for one in after if one not in before]
    if added:  # the pod agent itself passes every level, so this would be a fault of ours
        return f"refused because of the pod agent: {'; '.join(added)}"
    return f"refused as written: {'; '.join(before)}" if before else "passes"
