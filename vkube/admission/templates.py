"""The Pods that a manifest makes: a Pod itself, or the template of a workload."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Self

from vkube.errors import ManifestError
from vkube.workloads.template import PATHS, Object, template_of


@dataclass(frozen=True)
class Template:
    """A Pod that a workload makes. `pod` is what an API server sends to the webhook, as far as it is known
    before."""

    kind: str
    namespace: str
    name: str
    pod: Object

    @classmethod
    def of(cls, manifest: Object, namespace: str) -> Self | None:
        """The Pod of a manifest; None for another kind, or where the template is missing. `namespace` is for
        one that names none."""
        kind = manifest.get("kind")
        if not isinstance(kind, str) or kind not in PATHS:
            return None
        try:
            found = template_of(manifest)
        except ManifestError:
            return None
        metadata, own = _object(manifest.get("metadata")), _object(found.get("metadata"))
        place = str(metadata.get("namespace") or namespace)
        name = str(metadata.get("name") or f"{metadata.get('generateName', '')}…")
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**own, "name": own.get("name") or name, "namespace": place},
            "spec": copy.deepcopy(found["spec"]),
        }
        # The ServiceAccount admission does this before any webhook gets the Pod.
        spec = pod["spec"]
        spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
        return cls(kind, place, name, pod)

    @property
    def title(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def replaced(manifest: Object, pod: Object) -> Object:
    """A copy of the manifest with the spec of `pod` in its template."""
    changed = copy.deepcopy(manifest)
    template_of(changed)["spec"] = pod["spec"]
    return changed


def _object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}
