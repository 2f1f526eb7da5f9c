"""What a namespace's annotations decide for its Pods, which may state something else by their own.

The reconciler, which watches the namespaces, hands each of them over here, so that an admission asks nobody.
A namespace's annotations are as hostile as a Pod's: they are checked, bounded, and count in that namespace
alone. An image, or Secrets to pull it with, is accepted only where the installation permits it: a tenant who
may annotate a namespace, and create no Pod, could otherwise run a program in the Pods of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from webhook.annotations import (
    CONTAINERS,
    IMAGE,
    LOG_LEVEL,
    METRICS_PORT,
    PULL_POLICY,
    PULL_SECRETS,
    RESOURCES,
    STARTUP_WAIT,
    TTL,
    read_names,
    read_wishes,
)
from webhook.delivery import stated
from webhook.errors import RefusalError
from webhook.layout import DELIVERY_ANNOTATION
from webhook.reasons import AdmissionReason
from webhook.sidecar import Configuration

INHERITED: Final = frozenset(
    {
        IMAGE,
        PULL_POLICY,
        PULL_SECRETS,
        LOG_LEVEL,
        TTL,
        CONTAINERS,
        METRICS_PORT,
        STARTUP_WAIT,
        DELIVERY_ANNOTATION,
        *RESOURCES,
    }
)
OF_THE_INSTALLATION: Final = frozenset({IMAGE, PULL_SECRETS})
# What is written into the configuration; the others are read like a Pod's own.
_CONFIGURED: Final = frozenset({IMAGE, PULL_POLICY, PULL_SECRETS, LOG_LEVEL, *RESOURCES})
_LONGEST = 2048
_TOO_LONG = "\0"  # which no annotation can contain


class Defaults(NamedTuple):
    """The configuration for the Pods of a namespace, and the annotations that they inherit."""

    configuration: Configuration
    annotations: Mapping[str, str]
    problem: str = ""
    """Why the namespace's annotations cannot be used; every Pod in it is refused with this."""

    def check(self) -> None:
        """Raises RefusalError for annotations that cannot be used."""
        if self.problem:
            raise RefusalError(AdmissionReason.INVALID_ANNOTATION, self.problem)


def inherited(annotations: Mapping[str, object]) -> dict[str, str]:
    """Those of a namespace's annotations that its Pods inherit, of a bounded size."""
    found = {name: value for name, value in annotations.items() if name in INHERITED}
    return {
        name: value if isinstance(value, str) and len(value) <= _LONGEST else _TOO_LONG
        for name, value in found.items()
    }


def defaults(
    annotations: Mapping[str, str], configuration: Configuration, *, images_permitted: bool = False
) -> Defaults:
    """The meaning of a namespace's `inherited` annotations, where the installation has `configuration`."""
    try:
        return _defaults(annotations, configuration, images_permitted=images_permitted)
    except RefusalError as error:
        return Defaults(configuration, {}, f"the namespace's {error}")


def _defaults(
    annotations: Mapping[str, str], configuration: Configuration, *, images_permitted: bool
) -> Defaults:
    for name, value in sorted(annotations.items()):
        if value == _TOO_LONG:
            raise _refusal(name, f"expected at most {_LONGEST} characters")
        if name in OF_THE_INSTALLATION and not images_permitted:
            raise _refusal(name, "this installation permits it to no namespace (--namespace-images)")
    if DELIVERY_ANNOTATION in annotations:
        stated(annotations[DELIVERY_ANNOTATION])
    of_pods = {name: value for name, value in annotations.items() if name != PULL_SECRETS}
    wishes = read_wishes(of_pods, configuration.resources)
    own = replace(
        configuration,
        image=wishes.image or configuration.image,
        log_level=wishes.log_level or configuration.log_level,
        resources=wishes.resources,
        pull_policy=wishes.pull_policy or configuration.pull_policy,
        pull_secrets=configuration.pull_secrets + tuple(read_names(annotations, PULL_SECRETS)),
    )
    return Defaults(own, {name: value for name, value in of_pods.items() if name not in _CONFIGURED})


def _refusal(annotation: str, why: str) -> RefusalError:
    return RefusalError(AdmissionReason.INVALID_ANNOTATION, f"annotation {annotation}: {why}")


class NamespaceDefaults:
    """The defaults of every namespace that has any. One thread writes, others may read."""

    def __init__(self, configuration: Configuration, *, images_permitted: bool) -> None:
        self._none = Defaults(configuration, {})
        self._images_permitted = images_permitted
        self._of: dict[str, Defaults] = {}
        self._is_listed = False

    def of(self, namespace: str) -> Defaults:
        return self._of.get(namespace, self._none)

    def problem(self) -> str | None:
        """Why admissions cannot be right yet; None once the namespaces have been listed."""
        return None if self._is_listed else "the namespaces have not been listed yet"

    def replace_all(self, annotations: Mapping[str, Mapping[str, str]]) -> None:
        """Takes the `inherited` annotations of all namespaces, by their names."""
        self._of = {name: self._read(own) for name, own in annotations.items() if own}
        self._is_listed = True

    def take(self, namespace: str, annotations: Mapping[str, str] | None) -> None:
        """Takes those of one namespace; None when it is gone."""
        if annotations:
            self._of[namespace] = self._read(annotations)
        else:
            self._of.pop(namespace, None)

    def _read(self, annotations: Mapping[str, str]) -> Defaults:
        return defaults(annotations, self._none.configuration, images_permitted=self._images_permitted)
