"""The `vanadium.io/` annotations, by which a pod author tunes the injection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from webhook.errors import RefusalError
from webhook.layout import DELIVERY_ANNOTATION, INJECT_LABEL, PREFIX
from webhook.reasons import AdmissionReason
from webhook.resources import ResourceError, Resources
from webhook.spelling import told

IMAGE = f"{PREFIX}image"
# On a namespace only: a Pod has a field of its own for them.
PULL_SECRETS = f"{PREFIX}image-pull-secrets"
PULL_POLICY = f"{PREFIX}image-pull-policy"
LOG_LEVEL = f"{PREFIX}log-level"
TTL = f"{PREFIX}ttl"
CONTAINERS = f"{PREFIX}containers"
METRICS_PORT = f"{PREFIX}metrics-port"
STARTUP_WAIT = f"{PREFIX}startup-wait"
FILES = f"{PREFIX}files"
FILES_MODE = f"{PREFIX}files-mode"
FILES_GROUP = f"{PREFIX}files-group"
RESOURCES = {
    f"{PREFIX}cpu-request": "cpu_request",
    f"{PREFIX}cpu-limit": "cpu_limit",
    f"{PREFIX}memory-request": "memory_request",
    f"{PREFIX}memory-limit": "memory_limit",
    f"{PREFIX}ephemeral-storage-request": "ephemeral_storage_request",
    f"{PREFIX}ephemeral-storage-limit": "ephemeral_storage_limit",
}
KNOWN = frozenset(
    {IMAGE, PULL_POLICY, LOG_LEVEL, TTL, CONTAINERS, METRICS_PORT, STARTUP_WAIT, DELIVERY_ANNOTATION}
    | {FILES, FILES_MODE, FILES_GROUP, *RESOURCES}
)
# What a mistyped one may mean: also what belongs elsewhere, as the right name then tells.
_MEANT = KNOWN | {PULL_SECRETS, INJECT_LABEL}
# What tunes the pod agent means nothing where there is none.
OF_POD_AGENT = (
    *(IMAGE, PULL_POLICY, LOG_LEVEL, METRICS_PORT, STARTUP_WAIT),
    *(FILES, FILES_MODE, FILES_GROUP, *RESOURCES),
)

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
LOG_LEVELS = ("debug", "info", "warning", "error")
FILE_MODES = ("0400", "0440", "0444")
SHORTEST_TTL, LONGEST_TTL = 300, 86_400  # seconds: the range that an application may choose from
# A process without privileges may not listen below.
LOWEST_PORT, HIGHEST_PORT = 1024, 65_535
# While a kubelet waits for a hook it does nothing else for the Pod.
LONGEST_STARTUP_WAIT = 30  # seconds

_UNITS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?[hms]){1,3}")
_DURATION_PART = re.compile(r"([0-9.]+)([hms])")
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_WHOLE = re.compile(r"[0-9]{1,9}")
_GROUP = re.compile(r"[0-9]{1,10}")
_LARGEST_GROUP = 2**31 - 1  # as the API server has it for fsGroup
# Refuses what Kubernetes itself would refuse or a registry could never contain; the rest is left to the
# registry.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-/:@\[\]]{0,511}")


class FilesWish(NamedTuple):
    """The containers that get the identity as files, and the files' mode and group; None: the default."""

    containers: frozenset[str]
    mode: str | None
    group: int | None


class Wishes(NamedTuple):
    """The annotations of one Pod, read and checked. None means that the webhook's own setting applies."""

    image: str | None
    log_level: str | None
    ttl_seconds: int | None
    containers: frozenset[str] | None
    resources: Resources
    warnings: tuple[str, ...]
    files: FilesWish | None = None
    metrics_port: int | None = None
    pull_policy: str | None = None
    startup_wait_seconds: int | None = None
    are_none: bool = False
    """Whether there are none, so that every Pod without any gets the same container."""


def without_wishes(defaults: Resources) -> Wishes:
    """The wishes of a Pod that states none."""
    return Wishes(None, None, None, None, defaults, (), are_none=True)


def read_wishes(annotations: Mapping[str, str], defaults: Resources) -> Wishes:
    """The wishes in a Pod's annotations; `defaults` are the resources that apply without any.

    Raises:
        RefusalError: a value cannot be used; the message names the annotation, the value and what was
            expected.
    """
    annotations = {name: value for name, value in annotations.items() if name.startswith(PREFIX)}
    if not annotations:
        return without_wishes(defaults)
    return Wishes(
        image=_image(annotations),
        log_level=_one_of(annotations, LOG_LEVEL, LOG_LEVELS),
        ttl_seconds=read_ttl(annotations),
        containers=read_containers(annotations),
        resources=_resources(annotations, defaults),
        warnings=(*_without_files(annotations), *_unknown(annotations)),
        files=_files(annotations),
        metrics_port=_metrics_port(annotations),
        pull_policy=_one_of(annotations, PULL_POLICY, PULL_POLICIES),
        startup_wait_seconds=_startup_wait(annotations),
    )


def _refuse(annotation: str, value: str, expected: str) -> RefusalError:
    shown = value if len(value) <= 64 else value[:61] + "..."
    return RefusalError(AdmissionReason.INVALID_ANNOTATION, f"annotation {annotation}: {shown!r}: {expected}")


def _image(annotations: Mapping[str, str]) -> str | None:
    value = annotations.get(IMAGE)
    if value is not None and not _IMAGE.fullmatch(value):
        raise _refuse(IMAGE, value, "expected an image reference such as registry.example/pod-agent:1.2")
    return value


def _one_of(annotations: Mapping[str, str], annotation: str, known: Sequence[str]) -> str | None:
    value = annotations.get(annotation)
    if value is not None and value not in known:
        raise _refuse(annotation, value, f"expected one of {', '.join(known)}")
    return value


def read_ttl(annotations: Mapping[str, str]) -> int | None:
    """The life of the Pod's certificates in seconds, where it states one. Raises RefusalError."""
    seconds = _duration(annotations, TTL, "30m or 1h30m")
    if seconds is not None and not SHORTEST_TTL <= seconds <= LONGEST_TTL:
        raise _refuse(TTL, annotations[TTL], "expected 5 minutes (5m) to 24 hours (24h)")
    return seconds


def _startup_wait(annotations: Mapping[str, str]) -> int | None:
    seconds = _duration(annotations, STARTUP_WAIT, "3s")
    if seconds is not None and seconds > LONGEST_STARTUP_WAIT:
        expected = f"expected 0 to {LONGEST_STARTUP_WAIT} seconds, after which the application starts anyway"
        raise _refuse(STARTUP_WAIT, annotations[STARTUP_WAIT], expected)
    return seconds


def _duration(annotations: Mapping[str, str], annotation: str, example: str) -> int | None:
    value = annotations.get(annotation)
    seconds = None if value is None else _seconds(value)
    if value is not None and seconds is None:
        raise _refuse(annotation, value, f"expected seconds, or a duration such as {example}")
    return seconds


def _seconds(text: str) -> int | None:
    if _WHOLE.fullmatch(text):
        return int(text)
    if not _DURATION.fullmatch(text):
        return None
    total = sum(Fraction(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    return int(total) if total == int(total) else None


def _metrics_port(annotations: Mapping[str, str]) -> int | None:
    value = annotations.get(METRICS_PORT)
    if value is None:
        return None
    if not _WHOLE.fullmatch(value) or not LOWEST_PORT <= int(value) <= HIGHEST_PORT:
        raise _refuse(METRICS_PORT, value, f"expected a port, {LOWEST_PORT} to {HIGHEST_PORT}, such as 8194")
    return int(value)


def read_containers(annotations: Mapping[str, str]) -> frozenset[str] | None:
    """The containers that get the sockets; None for all. Raises RefusalError."""
    return _names(annotations, CONTAINERS, f"for none, use {INJECT_LABEL}")


def read_names(annotations: Mapping[str, str], annotation: str) -> list[str]:
    """The names of objects of Kubernetes in an annotation, in their order. Raises RefusalError."""
    value = annotations.get(annotation)
    names = [] if value is None else [name.strip() for name in value.split(",")]
    if value is not None and not all(_OBJECT_NAME.fullmatch(name) for name in names):
        raise _refuse(annotation, value, "expected names with commas between them")
    return names


def _names(annotations: Mapping[str, str], annotation: str, for_none: str) -> frozenset[str] | None:
    value = annotations.get(annotation)
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise _refuse(annotation, value, f"expected container names with commas between them; {for_none}")
    return frozenset(names)


def _files(annotations: Mapping[str, str]) -> FilesWish | None:
    names = _names(annotations, FILES, "for none, leave the annotation out")
    if names is None:
        return None
    mode, group = _one_of(annotations, FILES_MODE, FILE_MODES), annotations.get(FILES_GROUP)
    if group is not None and (not _GROUP.fullmatch(group) or int(group) > _LARGEST_GROUP):
        raise _refuse(FILES_GROUP, group, f"expected the number of a group, up to {_LARGEST_GROUP}")
    return FilesWish(names, mode, None if group is None else int(group))


def _without_files(annotations: Mapping[str, str]) -> list[str]:
    if FILES in annotations:
        return []
    return [
        f"annotation {name} has no effect without {FILES}"
        for name in (FILES_MODE, FILES_GROUP)
        if name in annotations
    ]


def _resources(annotations: Mapping[str, str], defaults: Resources) -> Resources:
    stated = {field: annotations[name] for name, field in RESOURCES.items() if name in annotations}
    if not stated:
        return defaults
    try:
        return defaults.changed(stated)
    except ResourceError as error:
        annotation = next(name for name, field in RESOURCES.items() if field == error.field)
        raise _refuse(annotation, annotations[annotation], str(error)) from error


def _unknown(annotations: Mapping[str, str]) -> list[str]:
    unknown = [name for name in annotations if name not in KNOWN]
    return [_without_effect(name, meant) for name, meant in told(unknown, _MEANT)]


def labels_without_effect(labels: Mapping[str, str]) -> list[str]:
    """What a Pod's author is told of labels with our prefix: only one counts."""
    unknown = [name for name in labels if name.startswith(PREFIX) and name != INJECT_LABEL]
    return [
        f"{name} was written as a label and has no effect: make it an annotation"
        if name in KNOWN
        else f"label {name[:80]} has no effect on a Pod{meant}"
        for name, meant in told(unknown, (INJECT_LABEL,))
    ]


def _without_effect(name: str, meant: str) -> str:
    if name == INJECT_LABEL:
        return f"{name} was written as an annotation and has no effect: make it a label"
    if name == PULL_SECRETS:
        field = "which has the field imagePullSecrets"
        return f"annotation {name} has no effect on a Pod, {field}: it is for namespaces only"
    return f"annotation {name[:80]} is not one that the injection knows{meant}"
