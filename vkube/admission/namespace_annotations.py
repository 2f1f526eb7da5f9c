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
from webhook.spelling import told

Object = dict[str, Any]
# The annotations are checked beside the default resources, as local mode's webhook has them.
_LOCAL: Final = Configuration("", "", "", "")
# Those of a namespace, with their values where these are words.
_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    INJECT_LABEL: (),
    f"{PREFIX}enforce": ("warn", "deny"),
    f"{PREFIX}metrics": ("allowed",),
}

_MEANT: Final = INHERITED | frozenset(_LABELS)


def of(namespace: Mapping[str, Any] | None) -> Mapping[str, str]:
    """The annotations of a namespace's manifest."""
    return ((namespace or {}).get("metadata") or {}).get("annotations") or {}


def objection(namespace: Mapping[str, Any] | None) -> str | None:
    """Why no Pod can be made there: an annotation that cannot be used; None when there is none."""
    try:
        defaults(inherited(of(namespace)), _LOCAL, images_permitted=True).check()
    except RefusalError as error:
        return str(error)
    return None


def stating(pod: Object, of_namespace: Mapping[str, str]) -> Object:
    """The Pod with what it inherits of its namespace's annotations as its own. Raises AdmissionRefused."""
    if why := objection({"metadata": {"annotations": of_namespace}}):
        raise AdmissionRefused(f"pod {pod['metadata']['name']} is refused: {why}")
    gets = {name: value for name, value in of_namespace.items() if name in INHERITED - {PULL_SECRETS}}
    metadata = pod["metadata"]
    own = metadata.get("annotations") or {}
    return {**pod, "metadata": {**metadata, "annotations": {**gets, **own}}} if gets else pod


def without_effect(namespace: Mapping[str, Any] | None) -> list[str]:
    """Tells of annotations of a namespace that no Pod inherits, and of labels that mean nothing, a few of
    each. The webhook, which is asked about Pods, tells of none."""
    annotations = [name for name in of(namespace) if name.startswith(PREFIX) and name not in INHERITED]
    values = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    labels = [name for name, value in values.items() if name.startswith(PREFIX) and not _counts(name, value)]
    return [
        *(
            f"the namespace's annotation {name} has no effect: {_why(name, meant)}"
            for name, meant in told((name for name in annotations if name != NAMED_AT), _MEANT)
        ),
        *(
            f"the namespace's label {name} has no effect: {_why_no_label(name, values[name], meant)}"
            for name, meant in told(labels, _MEANT)
        ),
    ]


def _why(name: str, meant: str) -> str:
    if name in _LABELS:
        return "make it a label"
    if name in KNOWN:
        return "state it on the Pod template"
    return f"no such annotation is known{meant}"


def _counts(name: str, value: str) -> bool:
    """Whether a label has an effect; a wrong value of the one that asks for injection is told of where it is
    missed."""
    return name in _LABELS and (not _LABELS[name] or value in _LABELS[name])


def _why_no_label(name: str, value: str, meant: str) -> str:
    if name in INHERITED:
        return "make it an annotation"
    if name not in _LABELS:
        return f"no such label is known{meant}"
    return f"{value!r}: expected {' or '.join(_LABELS[name])}"
