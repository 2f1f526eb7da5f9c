"""The annotations of a namespace, where no webhook watches it, and what of it has no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vkube.errors import AdmissionRefused
from vkube.workloads.credential import ANNOTATION as NAMED_AT
from webhook.annotations import KNOWN, PULL_SECRETS
from webhook.errors import RefusalError
from webhook.layout import INJECT_LABEL, PREFIX
from webhook.namespace_defaults import INHERITED, defaults, inherited
from webhook.sidecar import Configuration
from webhook.spelling import hint

Object = dict[str, Any]
# The annotations are checked beside the default resources, as local mode's webhook has them.
_LOCAL: Final = Configuration("", "", "", "")
# Those of a namespace, with their values where these are words.
_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    INJECT_LABEL: (),
    f"{PREFIX}enforce": ("warn", "deny"),
    f"{PREFIX}metrics": ("allowed",),
}


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


def without_effect(namespace: Mapping[str, Any] | None) -> list[str]:
    """Tells of annotations of a namespace that no Pod inherits, and of labels that mean nothing. The webhook,
    which is asked about Pods, tells of none."""
    annotations = (name for name in of(namespace) if name.startswith(PREFIX) and name not in INHERITED)
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    return [
        *(
            f"the namespace's annotation {name} has no effect: {_why(name)}"
            for name in sorted(annotations)
            if name != NAMED_AT
        ),
        *(
            f"the namespace's label {name} has no effect: {why}"
            for name, value in sorted(labels.items())
            if name.startswith(PREFIX) and (why := _why_no_label(name, value))
        ),
    ]


def _why(name: str) -> str:
    if name in _LABELS:
        return "make it a label"
    if name in KNOWN:
        return "state it on the Pod template"
    return f"no such annotation is known{hint(name, INHERITED)}"


def _why_no_label(name: str, value: str) -> str:
    """Empty for one that has an effect; a wrong value of the label that asks for injection is told of where
    it is missed."""
    if name in INHERITED:
        return "make it an annotation"
    if name not in _LABELS:
        return f"no such label is known{hint(name, _LABELS)}"
    values = _LABELS[name]
    return "" if not values or value in values else f"{value!r}: expected {' or '.join(values)}"
