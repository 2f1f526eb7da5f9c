"""The interface to a cluster's Services, where something gives them addresses on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Services(Protocol):
    """The Services that Pods can find."""

    def variables(self, pod: Mapping[str, Any]) -> dict[str, str]:
        """The variables by which a Pod finds the Services of its namespace."""

    def addressed(self, text: str, namespace: str) -> str:
        """The text, with the names of Services in it replaced by their addresses."""


class NoServices:
    """None: another program gives them addresses, or nobody."""

    def variables(self, _: Mapping[str, Any]) -> dict[str, str]:
        return {}

    def addressed(self, text: str, _: str) -> str:
        return text
