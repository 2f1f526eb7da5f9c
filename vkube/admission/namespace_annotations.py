"""The annotations of a namespace, where no webhook watches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vkube.errors import AdmissionRefused
from vkube.workloads.credential import ANNOTATION as NAMED_AT
from webhook.annotations import KNOWN, PULL_SECRETS
from webhook.errors import RefusalError
from webhook.layout import PREFIX
from webhook.namespace_defaults import INHERITED, defaults, inherited
from webhook.sidecar import Configuration

Object = dict[str, Any]
# The annotations are checked beside the default resources, as local mode's webhook has them.
_LOCAL: Final = Configuration("", "", "", "")


def of(namespace: Mapping[str, Any] | None) -> Mapping[str, str]:
    """The annotations of a namespace's manifest."""
    return ((namespace or {}).get("metadata") or {}).get("annotations") or {}


def stating(pod: Object, of_namespace: Mapping[str, str]) -> Object:
    """The Pod with what it inherits of its namespace's annotations as its own. Raises AdmissionRefused."""
    try:
        defaults(inherited(of_namespace), _LOCAL, images_permitted=True).check()
    except RefusalError as error:
        raise AdmissionRefused(f"pod {pod['metadata']['name']} is refused: {error}") from error
    gets = {name: value for name, value in of_namespace.items() if name in INHERITED - {PULL_SECRETS}}
    metadata = pod["metadata"]
    own = metadata.get("annotations") or {}
    return {**pod, "metadata": {**metadata, "annotations": {**gets, **own}}} if gets else pod


def without_effect(of_namespace: Mapping[str, object]) -> list[str]:
    """Tells of annotations that no Pod inherits. The webhook, which is asked about Pods, tells of none."""
    names = (name for name in of_namespace if name.startswith(PREFIX) and name not in INHERITED)
    return [
        f"the namespace's annotation {name} has no effect: "
        + ("state it on the Pod template" if name in KNOWN else "no such annotation is known")
        for name in sorted(names)
        if name != NAMED_AT
    ]
