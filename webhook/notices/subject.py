"""The object that an Event is about: the controller of a Pod, or the Pod itself where it has none."""

from __future__ import annotations

from typing import Any, NamedTuple

_LONGEST = 253


class Subject(NamedTuple):
    """An object of the Pod's namespace. `uid` is empty where nobody knows it yet."""

    api_version: str
    kind: str
    name: str
    uid: str


def subject_of(pod: object, name: str = "") -> Subject:
    """The subject for a Pod's raw JSON, of which nothing need be as Kubernetes has it. `name` is that of the
    request."""
    metadata = pod.get("metadata") if isinstance(pod, dict) else None
    if not isinstance(metadata, dict):
        return Subject("v1", "Pod", name[:_LONGEST], "")
    return owner_of(metadata) or Subject(
        "v1",
        "Pod",
        name[:_LONGEST] or _text(metadata, "name") or _text(metadata, "generateName"),
        _text(metadata, "uid"),
    )


def owner_of(metadata: dict[str, Any]) -> Subject | None:
    """The controller in an object's metadata; None without one."""
    references = metadata.get("ownerReferences")
    for one in references if isinstance(references, list) else ():
        if isinstance(one, dict) and one.get("controller") is True:
            found = Subject(*(_text(one, key) for key in ("apiVersion", "kind", "name", "uid")))
            return found if all(found) else None
    return None


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) and len(value) <= _LONGEST else ""
