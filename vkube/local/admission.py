"""Admission as an API server does it: sends the Pod to the mutating webhook, and applies the patch it
answers."""

from __future__ import annotations

import base64
import json
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import jsonpatch

from vkube.errors import AdmissionRefused, LocalModeError

# Longer than an API server waits: here nobody creates the Pod again.
_ANSWER_SECONDS = 60.0
_ATTEMPTS = 5


@dataclass(frozen=True)
class Admitted:
    """A Pod after admission, with the JSON Patch (RFC 6902) that was applied; empty when there was none."""

    pod: dict[str, Any]
    patch: list[dict[str, Any]]
    warnings: list[str]


async def admit(client: httpx.AsyncClient, pod: dict[str, Any]) -> Admitted:
    """Sends `pod` to the webhook behind `client` as an AdmissionReview (admission.k8s.io/v1).

    Raises AdmissionRefused when the webhook refuses, LocalModeError when its answer is not usable.
    """
    review = review_of(pod)
    name = pod["metadata"]["name"]
    try:
        response = await _asked(client, review)
        response.raise_for_status()
        answer = response.json()["response"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise LocalModeError(f"the webhook did not answer for pod {name}: {error!r}") from error
    if answer.get("uid") != review["request"]["uid"]:
        raise LocalModeError(f"the webhook answered another review than that of pod {name}")
    if not answer.get("allowed"):
        raise AdmissionRefused(
            f"pod {name} is refused: {answer.get('status', {}).get('message', 'no reason given')}"
        )
    patch = json.loads(base64.b64decode(answer["patch"])) if "patch" in answer else []
    return Admitted(jsonpatch.apply_patch(pod, patch), patch, list(answer.get("warnings") or []))


async def _asked(client: httpx.AsyncClient, review: dict[str, Any]) -> httpx.Response:
    """The answer to a review, which is sent again where the connection ended before it: the webhook ends one
    that was idle or slow, maybe at this moment."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(httpx.NetworkError, httpx.RemoteProtocolError):
            return await client.post("/mutate", json=review, timeout=_ANSWER_SECONDS)
    return await client.post("/mutate", json=review, timeout=_ANSWER_SECONDS)


def review_of(pod: dict[str, Any]) -> dict[str, Any]:
    """The AdmissionReview for the creation of `pod`."""
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": {"username": "vkube"},
            "object": pod,
            "oldObject": None,
            "dryRun": False,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    }
