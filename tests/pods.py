"""The one way in which tests make a Pod, and an AdmissionReview that asks about it.

>>> pod(container("web"), labels={"app": "web"})["spec"]["containers"][0]["name"]
'web'
"""

from __future__ import annotations

from typing import Any

JSONObject = dict[str, Any]

IMAGE = "registry.example/app:1"


def container(name: str = "web", **fields: Any) -> JSONObject:
    """A container as a user writes it; `fields` in camelCase, as in a manifest."""
    return {"name": name, "image": IMAGE, **fields}


def restricted_container(name: str = "web", **fields: Any) -> JSONObject:
    """A container that passes Pod Security `restricted`."""
    context = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return container(name, securityContext=context, **fields)


def pod(
    *containers: JSONObject,
    name: str = "web-1",
    generate_name: str = "",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    init: list[JSONObject] | None = None,
    **spec: Any,
) -> JSONObject:
    """A Pod with `containers` (one named `web` when none is given); `spec` takes any other field of it."""
    metadata: JSONObject = {"generateName": generate_name} if generate_name else {"name": name}
    if labels is not None:
        metadata["labels"] = labels
    if annotations is not None:
        metadata["annotations"] = annotations
    full: JSONObject = {**spec, "containers": list(containers) or [container()]}
    if init is not None:
        full["initContainers"] = init
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": full}


def review(
    subject: JSONObject | None,
    *,
    uid: str = "705ab4f5-6393-11e8-b7cc-42010a800002",
    namespace: str = "shop",
    operation: str = "CREATE",
    version: str = "v1",
    dry_run: bool = False,
    **request: Any,
) -> JSONObject:
    """The AdmissionReview that an API server sends for `subject`; `request` replaces fields of it."""
    name = (subject or {}).get("metadata", {}).get("name", "")
    return {
        "apiVersion": f"admission.k8s.io/{version}",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": name,
            "namespace": namespace,
            "operation": operation,
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": subject,
            "oldObject": None,
            "dryRun": dry_run,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
            **request,
        },
    }
