"""Applies what the webhook answers, as an API server would."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import jsonpatch

from webhook.injection import Injection, inject
from webhook.sidecar import Configuration

JSONObject = dict[str, Any]

CONFIGURATION = Configuration(
    image="registry.example/pod-agent:1",
    cluster_agent_url="https://cluster-agent.vanadium-system.svc:8193",
    cluster_agent_server_name="cluster-agent.vanadium-system.svc",
    token_audience="vanadium-cluster-agent",
)


def apply(pod: JSONObject, injection: Injection) -> JSONObject:
    """The Pod after the patch; the argument stays as it was."""
    result: JSONObject = jsonpatch.apply_patch(copy.deepcopy(pod), injection.operations)
    return result


def injected(pod: JSONObject, configuration: Configuration = CONFIGURATION) -> JSONObject:
    """The Pod after injection."""
    return apply(pod, inject(pod, configuration))


def patch_of(answer: JSONObject) -> list[JSONObject]:
    """The operations in an answered review."""
    response = answer["response"]
    if "patch" not in response:
        return []
    assert response["patchType"] == "JSONPatch"
    operations: list[JSONObject] = json.loads(base64.b64decode(response["patch"], validate=True))
    return operations


def named(items: list[JSONObject], name: str) -> JSONObject:
    """The one item of a list of containers, volumes or variables that has this name."""
    (found,) = [item for item in items if item["name"] == name]
    return found
