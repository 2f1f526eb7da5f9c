"""Pods that state an operating system in each of the ways that Kubernetes has.

The webhook skips those for Windows, and the admission policy must agree with it about every one.
"""

from __future__ import annotations

from typing import Any

from tests.pods import container, pod

JSONObject = dict[str, Any]
WINDOWS = "windows"
OPERATING_SYSTEM = "kubernetes.io/os"
WINDOWS_OPTIONS = {"windowsOptions": {"runAsUserName": "ContainerUser"}}


def affinity(*terms: JSONObject) -> JSONObject:
    return {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    }


def term(*values: str, key: str = OPERATING_SYSTEM, operator: str = "In") -> JSONObject:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


FOR_WINDOWS = [
    (pod(os={"name": WINDOWS}), "os.name"),
    (pod(nodeSelector={OPERATING_SYSTEM: WINDOWS}), "nodeSelector"),
    (pod(nodeSelector={"beta.kubernetes.io/os": WINDOWS}), "nodeSelector"),
    (pod(affinity=affinity(term(WINDOWS))), "node affinity"),
    (pod(affinity=affinity(term(WINDOWS), term(WINDOWS))), "node affinity"),
    (pod(securityContext=WINDOWS_OPTIONS), "windowsOptions"),
    (pod(container(securityContext=WINDOWS_OPTIONS)), "windowsOptions"),
    (pod(init=[container("migrate", securityContext=WINDOWS_OPTIONS)]), "windowsOptions"),
]
"""Each with the field that states it."""

PERHAPS_FOR_LINUX = [
    pod(os={"name": "linux"}),
    pod(os={"name": "linux"}, nodeSelector={OPERATING_SYSTEM: WINDOWS}),
    pod(nodeSelector={OPERATING_SYSTEM: "linux"}),
    pod(nodeSelector={OPERATING_SYSTEM: "linux"}, securityContext=WINDOWS_OPTIONS),
    pod(affinity=affinity(term(WINDOWS), term("linux"))),
    pod(affinity=affinity(term(WINDOWS, "linux"))),
    pod(affinity=affinity(term(WINDOWS, operator="NotIn"))),
    pod(affinity=affinity(term(WINDOWS, key="disk"))),
    pod(affinity={"nodeAffinity": {}}),
]
