"""Whether the API server would call the webhook for a Pod, by the webhook configuration's selectors.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, Any]) -> bool:
    """Returns whether a LabelSelector selects these labels. An empty one, and none, select all."""
    selector = selector or {}
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(one, labels) for one in selector.get("matchExpressions") or []
    )


def is_called(configuration: Mapping[str, Any], namespace: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Returns whether one of the configuration's webhooks selects these labels of namespace and Pod."""
    return any(
        matches(one.get("namespaceSelector"), namespace) and matches(one.get("objectSelector"), pod)
        for one in configuration.get("webhooks") or []
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    key, operator = str(expression.get("key")), expression.get("operator")
    values = expression.get("values") or []
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) == (operator == "Exists")
