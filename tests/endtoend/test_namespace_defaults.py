"""A namespace's annotations, as the webhook learns of them from a real API server."""

from __future__ import annotations

import json
from functools import partial

from tests.endtoend.installation import Installation, labelled_namespace
from tests.pods import pod
from tests.waiting import wait_for

NAMESPACE = "namespace-defaults"


def log_level(installed: Installation) -> str:
    """What a new Pod would get."""
    created = installed.kubectl(
        "create", "-n", NAMESPACE, "-f", "-", "--dry-run=server", "-o", "json", stdin=json.dumps(pod())
    )
    (agent,) = json.loads(created)["spec"]["initContainers"]
    levels = [one["value"] for one in agent["env"] if one["name"] == "VANADIUM_POD_AGENT_LOG_LEVEL"]
    return str(levels[0])


def is_level(installed: Installation, level: str) -> bool:
    return log_level(installed) == level


def test_new_pods_follow_each_change_of_their_namespaces_annotations(installed: Installation) -> None:
    with labelled_namespace(installed, NAMESPACE):
        for stated, level in (("=debug", "debug"), ("=error", "error"), ("-", "info")):
            installed.kubectl(
                "annotate", "--overwrite", "namespace", NAMESPACE, f"vanadium.io/log-level{stated}"
            )
            wait_for(f"level {level}", partial(is_level, installed, level))
