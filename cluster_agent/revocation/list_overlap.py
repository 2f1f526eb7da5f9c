"""Says whom two lists name: who keeps secrets does not administer, and a list that is too wide would keep all
administrators from it."""

from __future__ import annotations

import structlog

from blessings import AccessList

_log = structlog.get_logger(__name__)


def warn_of_overlap(administrators: AccessList, secret_keepers: AccessList) -> None:
    """Logs each pair of patterns, one of either list, which some name may match both of."""
    for ours in administrators.allowed:
        for theirs in secret_keepers.allowed:
            if ours.overlaps(theirs):
                _log.warning(
                    "whoever is in both lists keeps secrets, and does not administer",
                    administrators=str(ours),
                    secretKeepers=str(theirs),
                )
