"""Label selectors, as the API server applies them to a webhook.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mismatch(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> str | None:
    """The first requirement that the labels do not meet, in words; None when they meet all."""
    wanted = selector or {}
    for key, value in (wanted.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return f"{key}={value}"
    for one in wanted.get("matchExpressions") or []:
        key, operator, values = one["key"], one["operator"], one.get("values") or []
        met = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[operator]
        if not met:
            return f"{key} {operator} {', '.join(values)}".rstrip()
    return None
