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


def usual_pod() -> JSONObject:
    """A Pod of a Deployment, with the defaults of the API server and the service account's token."""
    variables = [{"name": f"SETTING_{index}", "value": f"value number {index}"} for index in range(8)]
    node = {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}
    token = "kube-api-access-x7k2p"
    mounts = [
        {"name": "config", "mountPath": "/etc/app"},
        {"name": token, "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
    ]
    probe = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    containers = [
        restricted_container(
            name,
            ports=[{"name": name, "containerPort": port, "protocol": "TCP"}],
            env=[*variables, node],
            resources={
                "limits": {"cpu": "500m", "memory": "256Mi"},
                "requests": {"cpu": "100m", "memory": "128Mi"},
            },
            volumeMounts=mounts,
            livenessProbe={"httpGet": {"path": "/healthz", "port": name, "scheme": "HTTP"}, **probe},
            readinessProbe={"httpGet": {"path": "/readyz", "port": name, "scheme": "HTTP"}, **probe},
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
            imagePullPolicy="IfNotPresent",
        )
        for name, port in (("web", 8080), ("proxy", 9090))
    ]
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    made = pod(
        *containers,
        generate_name="web-7d9f8c6b5-",
        labels={"app": "web", "pod-template-hash": "7d9f8c6b5"},
        annotations={"prometheus.io/scrape": "true"},
        volumes=[
            {"name": "config", "configMap": {"name": "web-config", "defaultMode": 420}},
            {"name": token, "projected": {"sources": sources, "defaultMode": 420}},
        ],
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        serviceAccountName="web",
        securityContext={},
        schedulerName="default-scheduler",
        enableServiceLinks=True,
    )
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f8c6b5", "uid": "705ab4f5-6393"}
    made["metadata"]["ownerReferences"] = [{**owner, "controller": True, "blockOwnerDeletion": True}]
    return made


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
